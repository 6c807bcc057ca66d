// The preference builder's shell around learner/sample_group.
#pragma once

#include <deque>
#include <map>
#include <utility>
#include <vector>

#include "actors/run_options.hpp"
#include "actors/shell.hpp"
#include "learner/sample_group.hpp"

namespace tracewise {

struct BuilderSetup {
  uint32_t index = 0;
  SampleGroupOptions group_options;
  RunOptions options;
};

class BuilderShell final : public Shell<BuilderActor> {
 public:
  BuilderShell(caf::actor_config& config, ShellContext context, BuilderSetup setup)
      : Shell(config, std::move(context)),
        setup_(std::move(setup)),
        assembler_(setup_.group_options),
        credit_(static_cast<uint32_t>(groups_under_way(setup_.options))) {}

 protected:
  behavior_type make_behavior() override;

 private:
  void take(TracedRollout traced);
  void finish(SampleGroup group);
  void hand_on();

  BuilderSetup setup_;
  GroupAssembler assembler_;
  std::map<uint64_t, uint32_t> least_attempt_;  // of groups of which an attempt was abandoned
  std::map<uint64_t, LoggedRollout> logged_;    // of open groups, one rollout each
  uint32_t credit_;                             // groups that the learner has room for
  std::deque<GroupParcel> waiting_;
};

// The advantage of each of the rollout's steps. [K]; empty if the group carries no signal.
std::vector<float> step_advantages(const TracedRollout& traced, const SampleGroup& group);

}  // namespace tracewise
