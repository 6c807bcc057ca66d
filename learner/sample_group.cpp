#include "learner/sample_group.hpp"

#include <algorithm>
#include <iterator>
#include <limits>
#include <string>
#include <utility>

#include "messages/check.hpp"
#include "messages/random.hpp"

namespace tracewise {
namespace {

// Above it the policy knows its answer: later tokens check, they don't solve.
constexpr float kSolvedValue = 0.9f;
constexpr float kEvenValue = 0.5f;

StepRollout step_rollout(const TracedRollout& traced) {
  StepRollout out;
  out.reward = traced.reward;
  int32_t begin = 0;
  for (const int32_t end : traced.step_ends) {
    out.step_tokens.push_back(end - begin);
    begin = end;
  }
  out.values.assign(traced.values.begin(), traced.values.end());
  out.shaping = static_cast<double>(traced.shaping);
  return out;
}

// [T] from [K]: every token has its step's advantage.
std::vector<float> token_advantages(const TracedRollout& traced, std::span<const double> steps) {
  std::vector<float> out(traced.rollout.tokens.size());
  size_t token = 0;
  for (size_t k = 0; k < steps.size(); ++k) {
    for (; token < static_cast<size_t>(traced.step_ends[k]); ++token) {
      out[token] = static_cast<float>(steps[k]);
    }
  }
  return out;
}

AdvantageRollout advantage_rollout(const TracedRollout& traced, std::span<const double> steps) {
  const Rollout& rollout = traced.rollout;
  AdvantageRollout out;
  out.sample = rollout.sample;
  out.tokens = rollout.prompt.tokens;
  out.tokens.insert(out.tokens.end(), rollout.tokens.begin(), rollout.tokens.end());
  out.prompt_tokens = static_cast<uint32_t>(rollout.prompt.tokens.size());
  out.logprobs = rollout.policy_logprobs;
  out.versions = rollout.versions;
  out.advantages = token_advantages(traced, steps);
  return out;
}

uint64_t oldest_version(std::span<const TracedRollout> rollouts) {
  uint64_t oldest = std::numeric_limits<uint64_t>::max();
  for (const auto& traced : rollouts) {
    for (const uint64_t version : traced.rollout.versions) oldest = std::min(oldest, version);
  }
  return oldest == std::numeric_limits<uint64_t>::max() ? 0 : oldest;
}

void add_value_stats(const TracedRollout& traced, GroupStats& stats) {
  const auto& values = traced.values;
  const uint64_t tokens = traced.rollout.tokens.size();
  ++stats.probed_rollouts;
  stats.probed_by_other_weights += traced.probed_by_other_weights ? 1 : 0;
  uint64_t solving = tokens;
  for (size_t k = 0; k < values.size(); ++k) {
    if (values[k] > kSolvedValue) {
      solving = k == 0 ? 0 : static_cast<uint64_t>(traced.step_ends[k - 1]);
      break;
    }
  }
  stats.solving_tokens += solving;
  stats.checking_tokens += tokens - solving;
  for (size_t k = 1; k < values.size(); ++k) {
    stats.right_to_wrong += values[k - 1] > kEvenValue && values[k] < kEvenValue ? 1 : 0;
    ++stats.value_steps;
  }
  for (const float value : values) {
    const double miss = static_cast<double>(value) - static_cast<double>(traced.reward);
    stats.brier_sum += miss * miss;
    ++stats.values;
  }
}

}  // namespace

bool carries_signal(std::span<const TracedRollout> good, const SampleGroupOptions& options) {
  if (good.empty()) return false;
  if (options.uniform_groups == UniformGroups::kKeep) return true;
  if (good.size() > 1 && std::ranges::all_of(good, [&](const TracedRollout& t) {
        return t.rollout.tokens == good.front().rollout.tokens;
      })) {
    return false;
  }
  const auto penalised = [&](const TracedRollout& t) {
    return penalised_reward(t.reward, static_cast<int64_t>(t.rollout.tokens.size()),
                            options.advantage) +
           static_cast<double>(t.shaping);
  };
  const bool uniform = std::ranges::all_of(
      good, [&](const TracedRollout& t) { return penalised(t) == penalised(good.front()); });
  if (!uniform) return true;
  return options.uniform_groups == UniformGroups::kKeepSolved &&
         std::ranges::all_of(good, [](const TracedRollout& t) { return t.reward >= 1.0f; });
}

GroupStats group_stats(std::span<const TracedRollout> rollouts) {
  GroupStats stats;
  for (const TracedRollout& traced : rollouts) {
    stats.probe_tokens += traced.probe_tokens;
    stats.probe_seconds += traced.probe_seconds;
    stats.generate_seconds += traced.rollout.generate_seconds;
    if (traced.rollout.failure.failed()) {
      ++stats.failures;
      continue;
    }
    ++stats.rollouts;
    stats.reward_sum += static_cast<double>(traced.reward);
    stats.shaping_sum += static_cast<double>(traced.shaping);
    stats.response_tokens += traced.rollout.tokens.size();
    stats.steps += traced.step_ends.size();
    stats.truncated += traced.rollout.finish == FinishReason::kLength ? 1 : 0;
    if (!traced.values.empty()) add_value_stats(traced, stats);
  }
  return stats;
}

std::vector<float> shuffled_values(std::vector<float> values, uint64_t seed, uint64_t group,
                                   uint32_t sample) {
  SplitMix random(SplitMix(seed, group).next(), sample);
  // Fisher and Yates over 1..K-1.
  for (size_t k = values.size(); k > 2; --k) {
    std::swap(values[k - 1], values[1 + random.below(k - 1)]);
  }
  return values;
}

namespace {

std::vector<TracedRollout> good_rollouts(std::span<const TracedRollout> rollouts) {
  std::vector<TracedRollout> good;
  std::ranges::copy_if(rollouts, std::back_inserter(good),
                       [](const TracedRollout& t) { return !t.rollout.failure.failed(); });
  return good;
}

Failure first_failure(std::span<const TracedRollout> rollouts) {
  for (const TracedRollout& traced : rollouts)
    if (traced.rollout.failure.failed()) return traced.rollout.failure;
  return {};
}

void fail_without_values(std::span<TracedRollout> rollouts) {
  for (TracedRollout& traced : rollouts) {
    if (traced.rollout.failure.failed() || traced.values.size() == traced.step_ends.size())
      continue;
    traced.rollout.failure = {FailureClass::kProbe, "it has steps but no values"};
  }
}

}  // namespace

BuiltGroup build_group(std::vector<TracedRollout> rollouts, const SampleGroupOptions& options) {
  TW_CHECK(!rollouts.empty(), "a group has at least one rollout");
  std::ranges::sort(rollouts, {}, [](const TracedRollout& t) { return t.rollout.sample; });
  const GroupKey key = rollouts.front().rollout.key;
  for (size_t i = 0; i < rollouts.size(); ++i) {
    TW_CHECK(rollouts[i].rollout.key == key, "the rollouts of one group have one key");
    TW_CHECK(i == 0 || rollouts[i].rollout.sample != rollouts[i - 1].rollout.sample,
             "a group has one rollout for each sample");
  }
  SampleGroup out;
  out.key = key;
  out.issue_version = oldest_version(rollouts);
  // A group without a signal was never probed, so this comes before values are missed.
  const bool signal = carries_signal(good_rollouts(rollouts), options);
  if (signal && options.advantage.needs_values()) fail_without_values(rollouts);
  out.stats = group_stats(rollouts);
  std::vector<TracedRollout> good = good_rollouts(rollouts);
  if (good.size() < std::max<size_t>(1, options.min_good_rollouts)) {
    return GroupFailed{key, first_failure(rollouts)};
  }
  if (!signal || !carries_signal(good, options)) return out;

  std::vector<StepRollout> steps;
  for (TracedRollout& traced : good) {
    if (options.shuffle_values) {
      traced.values =
          shuffled_values(std::move(traced.values), options.seed, key.group, traced.rollout.sample);
    }
    steps.push_back(step_rollout(traced));
  }
  const auto advantages = group_advantages(steps, options.advantage);
  for (size_t i = 0; i < good.size(); ++i) {
    if (good[i].rollout.tokens.empty()) continue;  // nothing to train on
    out.rollouts.push_back(advantage_rollout(good[i], advantages[i]));
  }
  out.pairs = step_pairs(good, options.preference);
  return out;
}

void finish_batch(std::span<SampleGroup> groups, const AdvantageOptions& options) {
  if (!options.whitens_batch()) return;
  BatchMoments moments;
  for (const SampleGroup& group : groups) {
    for (const auto& rollout : group.rollouts) {
      for (const float advantage : rollout.advantages) moments.add(static_cast<double>(advantage));
    }
  }
  for (SampleGroup& group : groups) {
    for (auto& rollout : group.rollouts) {
      for (float& advantage : rollout.advantages) {
        advantage = static_cast<float>(moments.whiten(static_cast<double>(advantage)));
      }
    }
  }
}

std::optional<BuiltGroup> GroupAssembler::put(TracedRollout traced) {
  const GroupKey key = traced.rollout.key;
  auto [place, fresh] = open_.try_emplace(key.group);
  OpenGroup& group = place->second;
  if (fresh || key.attempt > group.attempt) group = {key.attempt, {}};
  const bool known = std::ranges::any_of(group.rollouts, [&](const TracedRollout& other) {
    return other.rollout.sample == traced.rollout.sample;
  });
  if (key.attempt < group.attempt || known) {
    ++ignored_;
    return std::nullopt;
  }
  const size_t wanted = traced.rollout.group_samples;
  group.rollouts.push_back(std::move(traced));
  if (group.rollouts.size() < wanted) return std::nullopt;
  auto rollouts = std::move(group.rollouts);
  open_.erase(place);
  return build_group(std::move(rollouts), options_);
}

void GroupAssembler::drop(uint64_t group) { open_.erase(group); }

}  // namespace tracewise
