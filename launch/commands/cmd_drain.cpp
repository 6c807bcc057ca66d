// tracewise drain: lets a node of a run finish what it has and leave.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <thread>

#include "launch/commands/cli.hpp"
#include "launch/run_contact.hpp"
#include "messages/waits.hpp"

namespace tracewise {
namespace {

constexpr std::chrono::seconds kLimit{10};  // of one answer
constexpr std::chrono::milliseconds kPause{200};

// Waits until the node has left. Each of its groups is finished within deadlines.group_ms, or the
// run ends.
Result<void> wait_until_left(const RunContact& run, const std::string& node) {
  const Deadlines& deadlines = run.config.run.deadlines;
  const TimePoint until = std::chrono::steady_clock::now() +
                          std::chrono::milliseconds(deadlines.group_ms + deadlines.train_ms);
  const Wait wait("its leave", "node " + node, until);
  while (std::chrono::steady_clock::now() < until) {
    TW_ASSIGN(const auto nodes, ask_head(run, {}, std::chrono::steady_clock::now() + kLimit));
    const auto found = std::ranges::find(nodes, node, &NodeStatus::node);
    if (found == nodes.end() || found->state == NodeState::kLeft) return {};
    if (found->state == NodeState::kLost || !found->draining) {
      return io_error("node " + node +
                      " was lost before it had finished; its work is issued again" +
                      (found->reason.empty() ? "" : ": " + found->reason));
    }
    Wait("another look", "itself", std::chrono::steady_clock::now() + kPause).sleep();
  }
  return Error{ErrorClass::kDeadline, "node " + node +
                                          " did not finish within deadlines.group_ms and "
                                          "deadlines.train_ms; it is still draining"};
}

}  // namespace

int cmd_drain(const Args& args) {
  CLI::App app(
      "Gives a node no more work, waits until it has finished what it has, and lets it leave its\n"
      "run. To be asked where the run's folder is, by its owner.",
      "tracewise drain");
  std::string run, node;
  bool no_wait = false;
  app.add_option("RUN", run, "run folder")->required();
  app.add_option("NODE", node, "as tracewise nodes calls it")->required();
  app.add_flag("--no-wait", no_wait, "return once the node gets nothing new");
  if (const auto exit = parse_args(app, args)) return *exit;

  const auto contact = find_run(run);
  if (!contact.ok()) return fail(contact.error());
  const auto asked = ask_head(*contact, {ControlRequest::Kind::kDrain, node, {}},
                              std::chrono::steady_clock::now() + kLimit);
  if (!asked.ok()) return fail(asked.error());
  std::printf("%s gets no new work\n", node.c_str());
  std::fflush(stdout);
  if (no_wait) return kExitDone;
  const auto left = wait_until_left(*contact, node);
  if (!left.ok()) return fail(left.error());
  std::printf("%s has left the run\n", node.c_str());
  return kExitDone;
}

}  // namespace tracewise
