// An evaluation outside a run: the engine, the tracer and the arithmetic that the evaluation inside
// a run has, in threads instead of actors.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <stop_token>
#include <vector>

#include "actors/eval_result.hpp"
#include "launch/config.hpp"
#include "model/model_folder.hpp"

namespace tracewise {

struct EvaluateOptions {
  bool probe = false;          // values too, by the keys probe.*
  bool keep_rollouts = false;  // hand the rollouts out
};

// Where an evaluation stands.
struct EvaluateProgress {
  uint64_t groups_done = 0;
  uint64_t groups = 0;
  uint64_t rollouts_done = 0;  // failed ones too
  uint64_t rollouts = 0;
  double accuracy = 0;           // of the good rollouts so far; NaN: there is none
  double response_tokens = 0;    // their mean; NaN: there is none
  double tokens_per_second = 0;  // sampled, also of responses that are not at their end
  double seconds_left = -1;      // estimate; -1: nothing is known yet
};

struct Evaluation {
  EvalResult result;
  GroupStats stats;       // sums over all rollouts; value figures of the probed ones
  uint64_t unprobed = 0;  // good rollouts whose values could not be had
  Failure first_failure;  // of the failed rollouts, the first by (group, sample); where a set has
                          // no good one, that of this set
  // Where they were asked for. Advantages are those that training would give the steps, where
  // values were probed.
  std::vector<TracedRollout> rollouts;          // ascending by (group, sample)
  std::vector<std::vector<double>> advantages;  // [rollouts][K_i]; [] of those without
};

// Samples the rollouts of all sets with `model` in config.run.generators threads, each with an
// engine of config.engine.threads, none of which waits for a set's end. The group ids and so the
// tokens are those of an evaluation inside a run with the same seed, whatever the number of threads
// (bit-equal on the CPU). A rollout whose values cannot be probed counts all the same.
//
// `report` (may be empty) is called in this thread every config.run.progress_seconds (0: never).
// kBadInput: no sets or one without prompts, a k of eval.pass_at above a set's samples, a probe
// asked for without probe.mode. kCancelled when `stop` ended it.
Result<Evaluation> evaluate(const Config& config, const ModelFolder& model,
                            std::span<const EvalSet> sets, const EvaluateOptions& options,
                            std::stop_token stop,
                            const std::function<void(const EvaluateProgress&)>& report);

}  // namespace tracewise
