// Everything that a run writes down as it goes: ledger, run values, metrics, logged
// rollouts, outputs of evaluations.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "actors/eval_outputs.hpp"
#include "actors/eval_result.hpp"
#include "actors/ledger.hpp"
#include "actors/metrics_writer.hpp"
#include "actors/run_folder.hpp"
#include "actors/run_options.hpp"
#include "actors/run_store.hpp"
#include "actors/sqlite.hpp"

namespace tracewise {

// What a run starts from.
struct RunStart {
  CheckpointState state;                 // all 0 for a new run
  std::optional<Checkpoint> checkpoint;  // where weights and optimizer are; none: from scratch
  std::vector<GroupKey> again;           // groups to be issued again, with their newest attempt
  uint64_t undone_steps = 0;             // were done after the checkpoint
  std::vector<uint64_t> trained;         // group ids that are in the weights
  std::vector<std::string> skipped;      // broken checkpoints that were passed over
};

// Not thread-safe; owned by the coordinator once the run has started. After an error nothing more
// may be written: what is on the disk is the last state that was whole.
class RunBooks {
 public:
  // For a new run, or for one to be resumed from its newest whole checkpoint; broken ones of later
  // steps are set aside. `wall_time` is in seconds since 1970. kBadInput if the seed, the size of a
  // batch or the prompts are not those that the run was started with: group numbers stand for other
  // prompts then, and batches for other groups.
  static Result<std::unique_ptr<RunBooks>> open(RunFolder& folder, bool resume,
                                                const RunOptions& options,
                                                const std::vector<Prompt>& prompts,
                                                double wall_time);

  const RunStart& start() const { return start_; }
  Ledger& ledger() { return *ledger_; }

  // A rollout to be kept once its group is trained.
  void log_when_trained(LoggedRollout rollout);
  // Forgets the rollouts of a group that is issued again.
  void forget_logged(uint64_t group) { logged_.erase(group); }

  // Who writes evaluations' outputs; without it they are not kept.
  void save_outputs_with(SaveOutputs save) { outputs_.save_with(std::move(save)); }

  // The step's batch, metrics and logged rollouts, in one transaction.
  Result<void> record_step(const TrainedBatch& batch, std::span<const Metric> metrics,
                           double wall_time);
  // The metrics, the outputs of all rollouts (ascending by group and sample), and in run.db the
  // first ones. `best_step`: after which the best evaluation so far was.
  Result<void> record_eval(const EvalResult& result, std::vector<TracedRollout> rollouts,
                           uint64_t best_step, double wall_time);

 private:
  RunBooks(const RunFolder& folder, const RunOptions& options)
      : log_rollouts_(options.log_rollouts), outputs_(folder.evals(), options.eval.save_outputs) {}
  Result<void> begin_resumed(RunFolder& folder);
  Result<void> check_identity(const RunFolder& folder, const RunOptions& options,
                              const std::vector<Prompt>& prompts, bool resume);

  uint32_t log_rollouts_;
  EvalOutputs outputs_;
  RunStart start_;
  std::unique_ptr<Database> db_;  // outlives the two below
  std::unique_ptr<Ledger> ledger_;
  std::unique_ptr<RunStore> store_;
  std::unique_ptr<MetricsWriter> writer_;
  std::map<uint64_t, std::vector<LoggedRollout>> logged_;  // by group
};

}  // namespace tracewise
