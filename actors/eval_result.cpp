#include "actors/eval_result.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <tuple>

#include "messages/check.hpp"

namespace tracewise {
namespace {

constexpr double kRight = 0.5;  // rewards above it

double square(double x) { return x * x; }

double mean(std::span<const double> values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return values.empty() ? 0 : sum / static_cast<double>(values.size());
}

// The good rollouts of a prompt.
struct PromptCount {
  uint64_t rollouts = 0;
  uint64_t right = 0;
  double reward = 0;
};

PassAt pass_at_of(const std::vector<PromptCount>& prompts, uint32_t k) {
  PassAt pass;
  pass.k = k;
  std::vector<double> chances;
  uint64_t rollouts = 0;
  for (const PromptCount& prompt : prompts) {
    if (prompt.rollouts < k) continue;
    chances.push_back(pass_at_k(prompt.rollouts, prompt.right, k));
    rollouts += prompt.rollouts;
  }
  pass.prompts = chances.size();
  pass.value = mean(chances);
  // Of n rollouts n / k trials of k share none.
  std::tie(pass.low, pass.high) = prompts_interval(chances, static_cast<double>(rollouts) / k);
  return pass;
}

// `rollouts` ascending by group and sample, so that the order of arrival does not show in the last
// bit.
SetResult measure_set(const std::string& name, std::span<const TracedRollout* const> rollouts,
                      std::span<const uint32_t> pass_at) {
  SetResult result;
  result.name = name;
  double tokens = 0, steps = 0, truncated = 0;
  std::map<uint64_t, PromptCount> by_group;
  for (const TracedRollout* traced : rollouts) {
    PromptCount& prompt = by_group[traced->rollout.key.group];
    if (traced->rollout.failure.failed()) {
      ++result.failures;
      continue;
    }
    ++result.rollouts;
    ++prompt.rollouts;
    prompt.reward += static_cast<double>(traced->reward);
    prompt.right += static_cast<double>(traced->reward) > kRight ? 1 : 0;
    tokens += static_cast<double>(traced->rollout.tokens.size());
    steps += static_cast<double>(traced->step_ends.size());
    truncated += traced->rollout.finish == FinishReason::kLength ? 1 : 0;
  }
  result.prompts = by_group.size();
  std::vector<PromptCount> prompts;
  std::vector<double> rewards;
  for (const auto& [group, prompt] : by_group) {
    if (prompt.rollouts == 0) continue;
    prompts.push_back(prompt);
    rewards.push_back(prompt.reward / static_cast<double>(prompt.rollouts));
  }
  const auto n = static_cast<double>(result.rollouts);
  result.measured_prompts = prompts.size();
  result.accuracy = mean(rewards);
  std::tie(result.accuracy_low, result.accuracy_high) = prompts_interval(rewards, n);
  for (const uint32_t k : pass_at) result.pass_at.push_back(pass_at_of(prompts, k));
  if (result.rollouts == 0) return result;
  result.tokens_mean = tokens / n;
  result.steps_mean = steps / n;
  result.truncated = truncated / n;
  return result;
}

struct Estimate {
  double value, low, high;
};

// The mean of independent estimates. The variance of each is recovered from its own limits, so that
// the limits stay within [0, 1] (MOVER: Zou & Donner 2008).
Estimate mean_of(const std::vector<Estimate>& parts) {
  if (parts.size() == 1) return parts.front();
  Estimate out{0, 0, 0};
  const auto n = static_cast<double>(parts.size());
  for (const Estimate& part : parts) {
    out.value += part.value / n;
    out.low += square((part.value - part.low) / n);
    out.high += square((part.high - part.value) / n);
  }
  out.low = std::max(0.0, out.value - std::sqrt(out.low));
  out.high = std::min(1.0, out.value + std::sqrt(out.high));
  return out;
}

void set_means(EvalResult& result) {
  const auto n = static_cast<double>(result.sets.size());
  std::vector<Estimate> accuracies;
  for (const SetResult& set : result.sets) {
    result.prompts += set.prompts;
    result.measured_prompts += set.measured_prompts;
    result.rollouts += set.rollouts;
    result.failures += set.failures;
    result.tokens_mean += set.tokens_mean / n;
    result.steps_mean += set.steps_mean / n;
    result.truncated += set.truncated / n;
    accuracies.push_back({set.accuracy, set.accuracy_low, set.accuracy_high});
  }
  const Estimate accuracy = mean_of(accuracies);
  result.accuracy = accuracy.value;
  result.accuracy_low = accuracy.low;
  result.accuracy_high = accuracy.high;
  for (size_t i = 0; i < result.sets.front().pass_at.size(); ++i) {
    PassAt all;
    std::vector<Estimate> parts;
    for (const SetResult& set : result.sets) {
      const PassAt& pass = set.pass_at[i];
      all.k = pass.k;
      all.prompts += pass.prompts;
      parts.push_back({pass.value, pass.low, pass.high});
    }
    const Estimate estimate = mean_of(parts);
    all.value = estimate.value;
    all.low = estimate.low;
    all.high = estimate.high;
    result.pass_at.push_back(all);
  }
}

void add_metrics(const std::string& prefix, const EvalFigures& f, std::vector<Metric>& metrics) {
  const auto add = [&](const std::string& name, double value) {
    metrics.push_back({prefix + name, value});
  };
  add("accuracy", f.accuracy);
  add("accuracy_low", f.accuracy_low);
  add("accuracy_high", f.accuracy_high);
  for (const PassAt& pass : f.pass_at) add("pass_at_" + std::to_string(pass.k), pass.value);
  add("response_tokens", f.tokens_mean);
  add("steps_per_rollout", f.steps_mean);
  add("truncated", f.truncated);
  add("rollouts", static_cast<double>(f.rollouts));
  add("failures", static_cast<double>(f.failures));
}

}  // namespace

std::pair<double, double> wilson_interval(double right, double n, double z) {
  if (n <= 0) return {0, 1};
  const double p = right / n;
  const double z2 = z * z;
  const double centre = (p + z2 / (2 * n)) / (1 + z2 / n);
  const double half = z / (1 + z2 / n) * std::sqrt(p * (1 - p) / n + z2 / (4 * n * n));
  return {std::max(0.0, centre - half), std::min(1.0, centre + half)};
}

std::pair<double, double> prompts_interval(std::span<const double> prompts, double most) {
  const auto n = static_cast<double>(prompts.size());
  const double p = mean(prompts);
  double variance = 0;  // of a prompt
  for (const double prompt : prompts) variance += square(prompt - p) / n;
  // At p = 0 and 1 and where each prompt is right or wrong as a whole these are the prompts.
  const double share = p * (1 - p);
  double trials = n;
  if (share > 0) trials = variance * most > share * n ? share * n / variance : most;
  return wilson_interval(p * trials, trials);
}

double pass_at_k(uint64_t n, uint64_t c, uint64_t k) {
  TW_CHECK(k >= 1 && k <= n && c <= n, "pass@k of fewer rollouts than k");
  if (n - c < k) return 1;
  double none = 1;  // C(n-c, k) / C(n, k) as a product
  for (uint64_t i = n - c + 1; i <= n; ++i)
    none *= 1 - static_cast<double>(k) / static_cast<double>(i);
  return 1 - none;
}

Result<std::vector<uint32_t>> pass_at_of(std::span<const uint32_t> asked,
                                         std::span<const EvalSet> sets) {
  if (sets.empty()) return std::vector<uint32_t>{};
  const EvalSet& fewest = *std::ranges::min_element(sets, {}, &EvalSet::samples);
  std::vector<uint32_t> ks(asked.begin(), asked.end());
  if (ks.empty()) ks.push_back(fewest.samples);
  std::ranges::sort(ks);
  if (ks.back() <= fewest.samples) return ks;
  return bad_input("eval.pass_at: pass@" + std::to_string(ks.back()) +
                   " needs as many rollouts of a prompt, and the evaluation set " + fewest.name +
                   " has " + std::to_string(fewest.samples) + " (eval.samples)");
}

EvalResult measure(std::span<const TracedRollout> rollouts, std::span<const EvalSet> sets,
                   std::span<const uint32_t> pass_at) {
  EvalResult result;
  std::vector<const TracedRollout*> ordered;
  for (const TracedRollout& traced : rollouts) ordered.push_back(&traced);
  std::ranges::sort(ordered, {}, [](const TracedRollout* t) {
    return std::pair(t->rollout.key, t->rollout.sample);
  });
  for (const EvalSet& set : sets) {
    const uint64_t first = first_eval_group(set.name);
    const auto group = [](const TracedRollout* t) { return t->rollout.key.group; };
    const auto begin = std::ranges::lower_bound(ordered, first, {}, group);
    const auto end = std::ranges::lower_bound(ordered, first + set.prompts.size(), {}, group);
    result.sets.push_back(measure_set(set.name, {begin, end}, pass_at));
  }
  if (!result.sets.empty()) set_means(result);
  return result;
}

Failure first_failure(std::span<const TracedRollout> rollouts, const std::string& set) {
  const uint64_t first = first_eval_group(set);
  const TracedRollout* found = nullptr;
  for (const TracedRollout& traced : rollouts) {
    const Rollout& rollout = traced.rollout;
    if (!rollout.failure.failed() || rollout.key.group - first >= kMaxSetPrompts) continue;
    if (found == nullptr || std::pair(rollout.key.group, rollout.sample) <
                                std::pair(found->rollout.key.group, found->rollout.sample))
      found = &traced;
  }
  return found == nullptr ? Failure{} : found->rollout.failure;
}

const std::string* unmeasured_set(const EvalResult& result) {
  const auto found = std::ranges::find(result.sets, uint64_t{0}, &SetResult::rollouts);
  return found == result.sets.end() ? nullptr : &found->name;
}

std::vector<Metric> eval_metrics(const EvalResult& r) {
  std::vector<Metric> metrics;
  add_metrics("eval/", r, metrics);
  metrics.push_back({"eval/wall_seconds", r.wall_seconds});
  metrics.push_back({"eval/train_seconds", r.train_seconds});
  for (const SetResult& set : r.sets) add_metrics("eval/" + set.name + "/", set, metrics);
  return metrics;
}

}  // namespace tracewise
