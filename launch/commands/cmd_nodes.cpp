// tracewise nodes: who belongs to a run that goes on.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "launch/commands/cli.hpp"
#include "launch/run_contact.hpp"
#include "launch/text_table.hpp"

namespace tracewise {
namespace {

constexpr std::chrono::seconds kLimit{10};

std::string state_text(const NodeStatus& node) {
  const std::string state = to_string(node.state);
  return node.draining ? state + ", draining" : state;
}

std::string table(const std::vector<NodeStatus>& nodes) {
  std::vector<std::vector<std::string>> rows = {
      {"node", "state", "host", "seat", "in flight", "finished"}};
  for (const NodeStatus& node : nodes) {
    std::vector<std::string> row = {node.node, state_text(node), node.host};
    if (node.seats.empty()) rows.push_back({row[0], row[1], row[2], node.reason, "", ""});
    for (const SeatWork& work : node.seats) {
      rows.push_back({row[0], row[1], row[2], name_of(work.seat), std::to_string(work.in_flight),
                      std::to_string(work.finished)});
      row = {"", "", ""};  // told once
    }
  }
  return aligned(rows);
}

}  // namespace

int cmd_nodes(const Args& args) {
  CLI::App app(
      "The nodes of a run that goes on, with their seats and the groups that are on their way or\n"
      "were finished through each. To be asked where the run's folder is, by its owner.",
      "tracewise nodes");
  std::string run;
  bool json = false;
  app.add_option("RUN", run, "run folder")->required();
  app.add_flag("--json", json, "as JSON");
  if (const auto exit = parse_args(app, args)) return *exit;

  const auto contact = find_run(run);
  if (!contact.ok()) return fail(contact.error());
  const auto nodes = ask_head(*contact, {}, std::chrono::steady_clock::now() + kLimit);
  if (!nodes.ok()) return fail(nodes.error());
  std::fputs((json ? nodes_json(*nodes) : table(*nodes)).c_str(), stdout);
  return kExitDone;
}

}  // namespace tracewise
