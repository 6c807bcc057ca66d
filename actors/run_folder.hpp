// A run on disk:
//
//   config.toml               resolved, as the run was started
//   run.db                    ledger, run values, metrics, logged rollouts (SQLite, WAL)
//   metrics.jsonl             a line a step, and one an evaluation
//   events.out.tfevents.*     the same for TensorBoard
//   checkpoints/step-N/       model/ (Hugging Face folder) or adapter/ (PEFT's), state.json,
//                             optimizer.safetensors
//   checkpoints/step-N.broken passed over by a resume
//   checkpoints/best          -> step-N with the best accuracy (eval.best_set)
//   evals/step-N.jsonl        outputs of the evaluation after step N (actors/eval_outputs.hpp)
//   events.jsonl              what happened to the run (actors/event_log.hpp)
//   timeline.db               who did what when (actors/timeline.hpp)
//   logs/NODE.log
//   lock                      held with flock; holds the pid of the process that uses the folder
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "actors/ledger.hpp"
#include "messages/result.hpp"

namespace tracewise {

// state.json: where a run stands at a checkpoint. Everything else that steers it is config.toml and
// the two files beside.
struct CheckpointState {
  uint64_t step = 0;         // batches trained
  uint64_t version = 0;      // weights version of model/ or adapter/
  uint64_t next_group = 0;   // dataset cursor: groups issued when it was asked for
  double train_seconds = 0;  // used of budget_seconds
  uint64_t seed = 0;         // of the run; all randomness is counted from it
  double best_metric = -1;   // best accuracy so far (eval.best_set); -1: none yet
  uint64_t best_step = 0;
  uint64_t last_eval_step = 0;
  double last_eval_seconds = -1;      // of training time; -1: no evaluation yet
  std::vector<TrainedBatch> batches;  // trained since the checkpoint before
};

struct Checkpoint {
  std::filesystem::path dir;
  CheckpointState state;
  std::filesystem::path optimizer() const { return dir / "optimizer.safetensors"; }
};

// Owned by one process at a time and used from one thread at a time.
class RunFolder {
 public:
  // Makes the folder and locks it. One that already holds a run is kBadInput (resume it or choose
  // another); one in use by another process is kBadInput and names its pid.
  static Result<std::unique_ptr<RunFolder>> create(const std::filesystem::path& root,
                                                   const std::string& config_toml);

  // Locks the folder of an earlier run, so that it can be resumed.
  static Result<std::unique_ptr<RunFolder>> open(const std::filesystem::path& root);

  // Removes an earlier run with all its files; does nothing where there is none. kBadInput while
  // another process uses it.
  static Result<void> remove(const std::filesystem::path& root);

  ~RunFolder();
  RunFolder(const RunFolder&) = delete;
  RunFolder& operator=(const RunFolder&) = delete;

  const std::filesystem::path& root() const { return root_; }
  std::filesystem::path config() const { return root_ / "config.toml"; }
  std::filesystem::path database() const { return root_ / "run.db"; }
  std::filesystem::path metrics() const { return root_ / "metrics.jsonl"; }
  std::filesystem::path checkpoints() const { return root_ / "checkpoints"; }
  std::filesystem::path evals() const { return root_ / "evals"; }
  std::filesystem::path timeline() const { return root_ / "timeline.db"; }
  std::filesystem::path events() const { return root_ / "events.jsonl"; }
  std::filesystem::path logs() const { return root_ / "logs"; }

  // Writes checkpoints/step-N: `write_parts` fills the folder it is given (model/ and
  // optimizer.safetensors), then state.json follows, everything is forced to the disk and the
  // folder renamed into place. On failure nothing of it is left and older checkpoints are
  // untouched.
  Result<Checkpoint> write_checkpoint(
      const CheckpointState& state,
      const std::function<Result<void>(const std::filesystem::path& dir)>& write_parts);

  // The newest checkpoint whose files are all there with the sizes that it had when it was written.
  // Broken ones are passed over; their names go to `skipped`.
  Result<std::optional<Checkpoint>> newest_checkpoint(std::vector<std::string>* skipped) const;

  // Renames the checkpoints of steps after `step` to step-N.broken, so that a run that goes on from
  // `step` does not count them among its newest. They are the user's to look at or remove.
  Result<void> set_aside_after(uint64_t step);

  // Points checkpoints/best at the checkpoint of `step`.
  Result<void> mark_best(uint64_t step);

  // Removes all but the newest `keep_last` checkpoints and, if it is to be kept, the best one. Also
  // what a crash left half-written.
  Result<void> prune(uint64_t keep_last, bool keep_best);

 private:
  RunFolder(std::filesystem::path root, int lock) : root_(std::move(root)), lock_(lock) {}

  std::filesystem::path root_;
  int lock_;  // file descriptor that holds the flock
};

// Reads and checks one checkpoint folder. kBadInput, kCorrupt or kIo names what is wrong.
Result<Checkpoint> read_checkpoint(const std::filesystem::path& dir);

}  // namespace tracewise
