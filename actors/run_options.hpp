// Everything that a run of the actors is told; launch/ fills it from the config table.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "messages/records.hpp"
#include "messages/result.hpp"

namespace tracewise {

// The longest that each wait may last, in milliseconds; all > 0. A wait that ends by its deadline
// ends the run with a sentence that names both sides, except where another consequence is given.
struct Deadlines {
  int64_t start_ms = 300'000;       // an actor building its model
  int64_t group_ms = 600'000;       // a group, from its generator's mailbox to its sample group
  int64_t probe_ms = 120'000;       // a rollout's values; then the rollout fails with kProbe
  int64_t train_ms = 600'000;       // a complete batch, until its commit
  int64_t collective_ms = 120'000;  // a collective of the learner's ranks, and their meeting
  int64_t weights_ms = 120'000;     // a weights version, until a generator acknowledged it
  int64_t checkpoint_ms = 300'000;  // a checkpoint, until it is on disk
  int64_t stop_ms = 6'000;          // the checkpoint of a stop that was asked for
  int64_t exit_ms = 3'000;          // all actors, until they are gone
};

// Evaluation inside the run, of all its sets at once. Training and its clock stand still meanwhile.
struct EvalOptions {
  bool at_start = true;            // before the first step
  bool at_end = true;              // after the last step
  uint64_t every_steps = 0;        // 0: never
  double every_seconds = 0;        // of training time; 0: never
  std::vector<double> at_seconds;  // of training time, ascending
  uint32_t samples = 1;            // of each prompt, >= 1, where a set doesn't say otherwise
  std::vector<uint32_t> pass_at;   // ascending k; empty: the fewest samples of a set
  std::string best_set;            // whose accuracy chooses the best checkpoint; empty: their mean
  uint64_t save_outputs = 4;       // newest evaluations whose outputs are kept beside the best's
  SamplingParams sampling;
};

struct CheckpointOptions {
  uint64_t every_steps = 0;  // 0: at the end, at a stop and for the best alone
  uint64_t keep_last = 2;    // >= 1
  bool keep_best = true;     // also keep the one with the best accuracy (eval.best_set)
};

// (kMaxStaleness + 1) batches are issued at most; older tokens than that teach nothing.
inline constexpr uint64_t kMaxStaleness = 64;

struct RunOptions {
  uint32_t generators = 1;
  uint32_t tracers = 1;
  uint32_t builders = 1;

  uint64_t groups_per_batch = 32;
  uint64_t max_refilled_groups = 0;  // of a batch, without a signal, for which there are new ones
  uint32_t group_size = 8;           // samples of a group
  uint64_t max_staleness = 0;  // versions, <= kMaxStaleness; 0: synchronous and bit-reproducible
  uint64_t steps = 0;          // batches; 0: no limit
  double budget_seconds = 0;   // of training time (sampling, probing, updates); 0: no limit
  uint64_t seed = 0;           // of the order of the prompts; engines and trainer have their own
  bool shuffle = true;         // the prompts of each epoch
  SamplingParams sampling;     // of the training rollouts

  uint32_t max_attempts = 3;       // at a group, >= 1; then it counts as an empty one
  uint32_t restarts = 2;           // of generators, tracers, builders that died, over the run
  uint32_t window_samples = 1024;  // rollouts that a generator may owe
  uint32_t window_rollouts = 256;  // rollouts on their way to a tracer, or from it to a builder

  EvalOptions eval;
  CheckpointOptions checkpoint;
  uint32_t log_rollouts = 2;    // rollouts of each step, and of each evaluation, that run.db keeps
  double progress_seconds = 2;  // between two progress lines; 0: none
  Deadlines deadlines;
};

// kBadInput names the first option out of range, as `name = value`, and its range.
Result<void> check(const RunOptions& options);

// Groups that may be on their way to the learner at a time: what the rule of actors/admission.hpp
// lets be issued at once.
inline uint64_t groups_under_way(const RunOptions& options) {
  return (options.max_staleness + 1) * (options.groups_per_batch + options.max_refilled_groups);
}

// How much of the run is done, in [0, 1]: max(step / steps, seconds / budget_seconds). A limit that
// is not set counts as 0. Drives the learning-rate schedule; with a budget in seconds it depends on
// the machine's speed, so bit-equal runs need budget_seconds = 0.
double run_progress(const RunOptions& options, uint64_t step, double train_seconds);

}  // namespace tracewise
