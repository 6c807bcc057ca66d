// What an evaluation measured. Plain arithmetic; any thread may call. docs/evaluation.md has the
// formulas.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "actors/eval_set.hpp"
#include "messages/records.hpp"

namespace tracewise {

// How likely one of k rollouts of a prompt is right.
struct PassAt {
  uint32_t k = 1;
  double value = 0;      // mean over the prompts below
  double low = 0;        // interval, 95 %
  double high = 1;       //
  uint64_t prompts = 0;  // that have k good rollouts
};

// Of a set, or the mean over the sets, in which each weighs the same; the counts are their sums.
struct EvalFigures {
  uint64_t prompts = 0;
  uint64_t measured_prompts = 0;  // with a good rollout; the accuracy is over these
  uint64_t rollouts = 0;          // good ones; tokens, steps and truncated are over these
  uint64_t failures = 0;
  double accuracy = 0;      // avg@k: mean over prompts of the mean reward of a prompt's rollouts
  double accuracy_low = 0;  // interval, 95 %
  double accuracy_high = 1;
  std::vector<PassAt> pass_at;  // ascending in k
  double tokens_mean = 0;       // of a response
  double steps_mean = 0;
  double truncated = 0;  // share of rollouts that ended by length
};

struct SetResult : EvalFigures {
  std::string name;
};

struct EvalResult : EvalFigures {
  uint64_t step = 0;            // batches trained before it
  uint64_t version = 0;         // weights version that was measured
  double train_seconds = 0;     // of training time before it
  double wall_seconds = 0;      // that the evaluation took
  std::vector<SetResult> sets;  // in the order of the evaluation's sets
};

// Wilson score interval of `right` successes in `n` trials at normal quantile z (1.96: 95 %).
// `right` may be a sum of partial rewards. {0, 1} for n = 0.
std::pair<double, double> wilson_interval(double right, double n, double z = 1.96);

// Interval of the mean of prompts' figures, each in [0, 1] and made of independent trials of which
// there are `most` in all: Wilson's, with as many trials as would give a share the variance that
// the mean has, so that trials of a prompt that agree count as one. {0, 1} without prompts.
std::pair<double, double> prompts_interval(std::span<const double> prompts, double most);

// The unbiased estimate 1 - C(n-c, k) / C(n, k) (arXiv 2107.03374) of the chance that at least one
// of k rollouts is right, from n rollouts of which c are. 1 <= k <= n and c <= n.
double pass_at_k(uint64_t n, uint64_t c, uint64_t k);

// `asked`, or where that is empty the fewest samples of a set. kBadInput where a k is more than a
// set's samples.
Result<std::vector<uint32_t>> pass_at_of(std::span<const uint32_t> asked,
                                         std::span<const EvalSet> sets);

// Measures the rollouts of one evaluation of `sets`, in any order. A rollout is right if its reward
// is above 0.5; failed ones count as failures and for nothing else. step, version and seconds are
// the caller's. Every k of `pass_at` is at most each set's samples.
EvalResult measure(std::span<const TracedRollout> rollouts, std::span<const EvalSet> sets,
                   std::span<const uint32_t> pass_at);

// Of the set's failed rollouts, in any order, the first by group and sample; kNone: none failed.
Failure first_failure(std::span<const TracedRollout> rollouts, const std::string& set);

// The name of a set that has no good rollout, so that nothing is known of it; else nullptr.
const std::string* unmeasured_set(const EvalResult& result);

// Metrics of the mean over the sets, "eval/accuracy", and of each, "eval/SET/accuracy".
std::vector<Metric> eval_metrics(const EvalResult& result);

}  // namespace tracewise
