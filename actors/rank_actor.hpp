// The shell of a rank of the learner other than 0, which tells it what to call.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "actors/own_rank.hpp"
#include "actors/run_options.hpp"
#include "actors/run_parts.hpp"
#include "actors/shell.hpp"
#include "transport/transport.hpp"

namespace tracewise {

struct RankSetup {
  std::shared_ptr<const RunParts> parts;  // shared with the node's other actors
  std::shared_ptr<OwnRank> own_rank;      // shared with the node, which aborts it
  MakeWeightsSender make_sender;
  RunOptions options;
};

// Runs in a thread of its own, which is also the trainer's. Where the ranks serve weights it keeps
// a copy of each version, made as soon as it is trained, and offers it once rank 0 has. What a call
// fails of goes to the learner: every rank fails of it, and the learner knows best whom to blame.
class RankShell final : public Shell<RankActor> {
 public:
  RankShell(caf::actor_config& config, ShellContext context, RankSetup setup)
      : Shell(config, std::move(context)), setup_(std::move(setup)) {}

 protected:
  behavior_type make_behavior() override;
  void let_go() override;

 private:
  Result<void> meet(const RankMeeting& meeting);
  Result<void> train(uint64_t version, double progress);
  void take_snapshot(uint64_t version);
  Result<WeightsPlace> offer(const WeightsManifest& manifest);

  RankSetup setup_;
  std::unique_ptr<Trainer> trainer_;
  std::vector<SampleGroup> batch_;         // what has come of the next one
  std::unique_ptr<WeightsSender> sender_;  // null: it does not serve weights
  WeightsPtr weights_;                     // the trainer's, if they have been copied
};

}  // namespace tracewise
