#include "learner/advantage.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "messages/check.hpp"

namespace tracewise {
namespace {

// Beside the group's std in GRPO: algorithm.md's choice, as in the authors' code.
constexpr double kGrpoEps = 1e-4;
constexpr double kWhitenEps = 1e-8;

double mean(std::span<const double> xs) {
  return std::accumulate(xs.begin(), xs.end(), 0.0) / static_cast<double>(xs.size());
}

// With n - 1; 0 for fewer than two.
double sample_std(std::span<const double> xs, double mean) {
  if (xs.size() < 2) return 0;
  double squares = 0;
  for (const double x : xs) squares += (x - mean) * (x - mean);
  return std::sqrt(squares / static_cast<double>(xs.size() - 1));
}

struct GroupMoments {
  double mu = 0;
  double sigma = 0;
};

// Every rollout that has steps weighs the same, whatever their number.
GroupMoments group_moments(const std::vector<std::vector<double>>& advantages) {
  double rollouts = 0;
  GroupMoments out;
  for (const auto& steps : advantages) {
    if (steps.empty()) continue;
    out.mu += mean(steps);
    ++rollouts;
  }
  if (rollouts == 0) return out;
  out.mu /= rollouts;
  double variance = 0;
  for (const auto& steps : advantages) {
    double squares = 0;
    for (const double a : steps) squares += (a - out.mu) * (a - out.mu);
    if (!steps.empty()) variance += squares / static_cast<double>(steps.size());
  }
  out.sigma = std::sqrt(variance / rollouts);
  return out;
}

}  // namespace

int64_t StepRollout::tokens() const {
  return std::accumulate(step_tokens.begin(), step_tokens.end(), int64_t{0});
}

std::vector<double> step_gammas(std::span<const int64_t> step_tokens,
                                const AdvantageOptions& options) {
  std::vector<double> gammas(step_tokens.size(), options.gamma);
  if (!options.length_aware) return gammas;
  for (size_t k = 0; k < gammas.size(); ++k) {
    const double share = static_cast<double>(step_tokens[k]) / options.length_ref;
    gammas[k] = std::max(options.gamma_min, 1 - share * (1 - options.gamma_min));
  }
  return gammas;
}

std::vector<double> step_gae(std::span<const double> values, double reward,
                             std::span<const double> gammas, double lambda) {
  TW_CHECK(values.size() == gammas.size(), "one value and one gamma a step");
  const size_t steps = values.size();
  std::vector<double> advantages(steps);
  double next = 0;
  for (size_t k = steps; k-- > 0;) {
    const bool last = k + 1 == steps;
    const double delta = last ? reward - values[k] : gammas[k] * values[k + 1] - values[k];
    next = delta + gammas[k] * lambda * next;
    advantages[k] = next;
  }
  return advantages;
}

double penalised_reward(double reward, int64_t tokens, const AdvantageOptions& options) {
  if (options.length_penalty == 0) return reward;
  const double share = std::min(1.0, static_cast<double>(tokens) / options.length_penalty_ref);
  return reward * (1 - options.length_penalty * share);
}

std::vector<double> outcome_advantages(std::span<const double> rewards,
                                       const AdvantageOptions& options) {
  const size_t group = rewards.size();
  std::vector<double> advantages(group, 0.0);
  if (options.base == OutcomeBase::kReinforcePp) return {rewards.begin(), rewards.end()};
  // Equal rewards give exact zeros, not what rounding leaves of reward minus mean.
  if (std::adjacent_find(rewards.begin(), rewards.end(), std::not_equal_to<>()) == rewards.end()) {
    return advantages;
  }
  const double mu = mean(rewards);
  double scale = 1;
  if (options.base == OutcomeBase::kGrpo) {
    scale = 1 / (options.divide_by_std ? sample_std(rewards, mu) + kGrpoEps : options.base_scale);
  } else if (options.base == OutcomeBase::kRloo) {
    // R_i - (sum - R_i) / (G - 1)  =  G / (G - 1) * (R_i - mean).
    scale = static_cast<double>(group) / static_cast<double>(group - 1);
  }
  for (size_t i = 0; i < group; ++i) advantages[i] = (rewards[i] - mu) * scale;
  return advantages;
}

std::vector<std::vector<double>> group_advantages(std::span<const StepRollout> group,
                                                  const AdvantageOptions& options) {
  std::vector<double> rewards;
  std::vector<std::vector<double>> advantages;
  for (const StepRollout& rollout : group) {
    rewards.push_back(penalised_reward(rollout.reward, rollout.tokens(), options) +
                      rollout.shaping);
    if (options.needs_values()) {
      advantages.push_back(step_gae(rollout.values, rollout.reward,
                                    step_gammas(rollout.step_tokens, options), options.lambda));
    } else {
      advantages.emplace_back(rollout.step_tokens.size(), 0.0);
    }
  }
  const GroupMoments moments = group_moments(advantages);
  if (options.kind == AdvantageKind::kStepGroup) {
    for (auto& steps : advantages) {
      for (double& a : steps) a = (a - moments.mu) / (moments.sigma + options.eps);
    }
    return advantages;
  }
  const std::vector<double> base = outcome_advantages(rewards, options);
  const double beta = options.kind == AdvantageKind::kPlugIn ? options.beta : 0;
  for (size_t i = 0; i < advantages.size(); ++i) {
    for (double& a : advantages[i]) a = base[i] + beta * (a - moments.mu);
  }
  return advantages;
}

void BatchMoments::add(double advantage, int64_t tokens) {
  if (tokens <= 0) return;
  const double weight = static_cast<double>(tokens);
  tokens_ += weight;
  const double from_old = advantage - mean_;
  mean_ += from_old * weight / tokens_;
  squares_ += weight * from_old * (advantage - mean_);
}

double BatchMoments::whiten(double advantage) const {
  TW_CHECK(tokens_ > 0, "whitening needs what it was measured on");
  return (advantage - mean_) / std::sqrt(squares_ / tokens_ + kWhitenEps);
}

}  // namespace tracewise
