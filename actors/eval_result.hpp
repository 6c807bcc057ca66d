// What an evaluation measured. Plain arithmetic; any thread may call.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "messages/records.hpp"

namespace tracewise {

struct EvalResult {
  uint64_t step = 0;         // batches trained before it
  uint64_t version = 0;      // weights version that was measured
  double train_seconds = 0;  // of training time before it
  double wall_seconds = 0;   // that the evaluation took
  uint64_t prompts = 0;
  uint64_t rollouts = 0;  // good ones; the means are over these
  uint64_t failures = 0;
  double accuracy = 0;      // mean reward (avg@k)
  double accuracy_low = 0;  // Wilson interval, 95 %
  double accuracy_high = 0;
  double pass_at_k = 0;    // share of prompts with at least one right rollout (reward > 0.5)
  double tokens_mean = 0;  // of a response
  double steps_mean = 0;
  double truncated = 0;  // share of rollouts that ended by length
};

// Wilson score interval of `right` successes in `n` trials at normal quantile z (1.96: 95 %).
// `right` may be a sum of partial rewards. {0, 1} for n = 0.
std::pair<double, double> wilson_interval(double right, double n, double z = 1.96);

// Measures the rollouts of one evaluation, in any order. step, version and seconds are the
// caller's.
EvalResult measure(std::span<const TracedRollout> rollouts);

// "eval/accuracy", "eval/accuracy_low", ...
std::vector<Metric> eval_metrics(const EvalResult& result);

}  // namespace tracewise
