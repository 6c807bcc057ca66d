// tracewise nodes: who belongs to a run that goes on.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "launch/commands/cli.hpp"
#include "launch/nodes_table.hpp"
#include "launch/run_contact.hpp"

namespace tracewise {
namespace {

constexpr std::chrono::seconds kLimit{10};

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
  std::fputs((json ? nodes_json(*nodes) : nodes_table(*nodes)).c_str(), stdout);
  return kExitDone;
}

}  // namespace tracewise
