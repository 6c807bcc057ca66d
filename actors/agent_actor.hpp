// The agent stands for a node that is not the head: it seats actors there for the supervisor, and
// answers its pings. When it has heard nothing for too long, or is told to stop, it ends the node's
// actors and says why to the thread that runs the node.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "actors/membership.hpp"
#include "actors/seat_factory.hpp"
#include "actors/shell.hpp"

namespace tracewise {

struct AgentSetup {
  std::string node;
  SeatFactory factory;
  MembershipOptions membership;
  std::function<std::vector<std::string>()> parted;  // the nodes that links were lost with
};

class AgentShell final : public Shell<AgentActor> {
 public:
  AgentShell(caf::actor_config& config, ShellContext context, AgentSetup setup)
      : Shell(config, std::move(context)), setup_(std::move(setup)) {}

 protected:
  behavior_type make_behavior() override;
  void let_go() override;

 private:
  void end(Result<RunSummary> why);

  AgentSetup setup_;
  std::map<Seat, Hired> hired_;
  TimePoint heard_{};
};

}  // namespace tracewise
