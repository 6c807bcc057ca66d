#include "actors/eval_result.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <tuple>

namespace tracewise {

std::pair<double, double> wilson_interval(double right, double n, double z) {
  if (n <= 0) return {0, 1};
  const double p = right / n;
  const double z2 = z * z;
  const double centre = (p + z2 / (2 * n)) / (1 + z2 / n);
  const double half = z / (1 + z2 / n) * std::sqrt(p * (1 - p) / n + z2 / (4 * n * n));
  return {std::max(0.0, centre - half), std::min(1.0, centre + half)};
}

EvalResult measure(std::span<const TracedRollout> rollouts) {
  EvalResult result;
  double reward = 0, tokens = 0, steps = 0, truncated = 0;
  std::map<uint64_t, bool> solved;  // by group: one group is one prompt
  // Summed in the order of (group, sample), so that the order of arrival does not show in the last
  // bit.
  std::vector<const TracedRollout*> ordered;
  for (const TracedRollout& traced : rollouts) ordered.push_back(&traced);
  std::sort(ordered.begin(), ordered.end(), [](const TracedRollout* a, const TracedRollout* b) {
    return std::pair(a->rollout.key, a->rollout.sample) <
           std::pair(b->rollout.key, b->rollout.sample);
  });
  for (const TracedRollout* traced : ordered) {
    bool& prompt_solved = solved[traced->rollout.key.group];
    if (traced->rollout.failure.failed()) {
      ++result.failures;
      continue;
    }
    ++result.rollouts;
    const auto r = static_cast<double>(traced->reward);
    reward += r;
    tokens += static_cast<double>(traced->rollout.tokens.size());
    steps += static_cast<double>(traced->step_ends.size());
    truncated += traced->rollout.finish == FinishReason::kLength ? 1 : 0;
    prompt_solved = prompt_solved || r > 0.5;
  }
  result.prompts = solved.size();
  const auto n = static_cast<double>(result.rollouts);
  std::tie(result.accuracy_low, result.accuracy_high) = wilson_interval(reward, n);
  if (result.rollouts == 0) return result;
  result.accuracy = reward / n;
  result.tokens_mean = tokens / n;
  result.steps_mean = steps / n;
  result.truncated = truncated / n;
  const auto right =
      std::count_if(solved.begin(), solved.end(), [](const auto& entry) { return entry.second; });
  result.pass_at_k = static_cast<double>(right) / static_cast<double>(result.prompts);
  return result;
}

std::vector<Metric> eval_metrics(const EvalResult& r) {
  return {{"eval/accuracy", r.accuracy},
          {"eval/accuracy_low", r.accuracy_low},
          {"eval/accuracy_high", r.accuracy_high},
          {"eval/pass_at_k", r.pass_at_k},
          {"eval/response_tokens", r.tokens_mean},
          {"eval/steps_per_rollout", r.steps_mean},
          {"eval/truncated", r.truncated},
          {"eval/rollouts", static_cast<double>(r.rollouts)},
          {"eval/failures", static_cast<double>(r.failures)},
          {"eval/wall_seconds", r.wall_seconds},
          {"eval/train_seconds", r.train_seconds}};
}

}  // namespace tracewise
