#include "learner/advantage.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <random>

namespace tracewise {
namespace {

AdvantageOptions options_of(AdvantageKind kind) {
  AdvantageOptions options;
  options.kind = kind;
  return options;
}

std::vector<double> gae(const std::vector<double>& values, double reward, double gamma,
                        double lambda) {
  return step_gae(values, reward, std::vector<double>(values.size(), gamma), lambda);
}

void check_close(const std::vector<double>& got, const std::vector<double>& want,
                 double margin = 1e-12) {
  REQUIRE(got.size() == want.size());
  for (size_t i = 0; i < got.size(); ++i) CHECK(got[i] == Approx(want[i]).margin(margin));
}

// A_k as the sum it stands for: over j >= k, delta_j times the product of gamma_i * lambda, k <= i
// < j.
std::vector<double> naive_gae(const std::vector<double>& values, double reward,
                              const std::vector<double>& gammas, double lambda) {
  const size_t steps = values.size();
  std::vector<double> out(steps);
  for (size_t k = 0; k < steps; ++k) {
    for (size_t j = k; j < steps; ++j) {
      const double delta =
          j + 1 == steps ? reward - values[j] : gammas[j] * values[j + 1] - values[j];
      double discount = 1;
      for (size_t i = k; i < j; ++i) discount *= gammas[i] * lambda;
      out[k] += discount * delta;
    }
  }
  return out;
}

StepRollout random_rollout(std::mt19937& random) {
  std::uniform_real_distribution<double> unit(0, 1);
  StepRollout out;
  const size_t steps = 1 + random() % 9;
  for (size_t k = 0; k < steps; ++k) {
    out.values.push_back(unit(random));
    out.step_tokens.push_back(1 + static_cast<int64_t>(random() % 40));
  }
  out.reward = random() % 3 == 0 ? unit(random) : static_cast<double>(random() % 2);
  return out;
}

std::vector<StepRollout> random_group(std::mt19937& random) {
  std::vector<StepRollout> group(1 + random() % 8);
  for (auto& rollout : group) rollout = random_rollout(random);
  return group;
}

}  // namespace

TEST_CASE("step GAE of three steps, traced by hand") {
  // V = .2 .5 .25, R = 1, gamma .9, lambda .5:
  //   delta_3 = 1 - .25 = .75;  delta_2 = .9*.25 - .5 = -.275;  delta_1 = .9*.5 - .2 = .25
  //   A_3 = .75;  A_2 = -.275 + .45*.75 = .0625;  A_1 = .25 + .45*.0625 = .278125
  check_close(gae({0.2, 0.5, 0.25}, 1, 0.9, 0.5), {0.278125, 0.0625, 0.75});
}

TEST_CASE("with lambda 0 and gamma 1 a step's advantage is its gain in value") {
  check_close(gae({0.1, 0.4, 0.3, 0.8}, 1, 1, 0), {0.3, -0.1, 0.5, 0.2});
}

TEST_CASE("with lambda 1 and gamma 1 a step's advantage is the outcome less the value before it") {
  check_close(gae({0.1, 0.4, 0.3, 0.8}, 1, 1, 1), {0.9, 0.6, 0.7, 0.2});
  check_close(gae({0.1, 0.4, 0.3, 0.8}, 0, 1, 1), {-0.1, -0.4, -0.3, -0.8});
}

TEST_CASE("with gamma 1 and lambda 0 the advantages of a rollout add up to R - V_0") {
  std::mt19937 random(3);
  for (int round = 0; round < 50; ++round) {
    const StepRollout r = random_rollout(random);
    double sum = 0;
    for (const double a : gae(r.values, r.reward, 1, 0)) sum += a;
    CHECK(sum == Approx(r.reward - r.values[0]).margin(1e-12));
  }
}

TEST_CASE("a rollout of one step has the advantage R - V_0 whatever gamma and lambda") {
  check_close(gae({0.25}, 1, 0.5, 0.5), {0.75});
  check_close(gae({0.25}, 0, 1, 1), {-0.25});
  CHECK(gae({}, 1, 1, 1).empty());
}

TEST_CASE("step GAE equals the sum it stands for on random rollouts") {
  std::mt19937 random(1);
  std::uniform_real_distribution<double> unit(0, 1);
  for (int round = 0; round < 200; ++round) {
    const StepRollout r = random_rollout(random);
    std::vector<double> gammas(r.values.size());
    for (double& gamma : gammas) gamma = unit(random);
    const double lambda = unit(random);
    check_close(step_gae(r.values, r.reward, gammas, lambda),
                naive_gae(r.values, r.reward, gammas, lambda));
  }
}

TEST_CASE("a length-aware gamma falls linearly to its floor at the reference length") {
  AdvantageOptions options;
  options.gamma = 0.5;
  options.gamma_min = 0.8;
  options.length_ref = 10;
  const std::vector<int64_t> lengths{1, 5, 10, 40};
  check_close(step_gammas(lengths, options), {0.5, 0.5, 0.5, 0.5});
  options.length_aware = true;  // 1 - .1*.2, 1 - .5*.2, 1 - .2, floor
  check_close(step_gammas(lengths, options), {0.98, 0.9, 0.8, 0.8});
}

TEST_CASE("GRPO's base is the reward in the group's standard deviations, n - 1") {
  // Rewards 1 0 0 1: mean .5, squares 4 * .25, std = sqrt(1 / 3).
  const std::vector<double> rewards{1, 0, 0, 1};
  const double a = 0.5 / (std::sqrt(1.0 / 3) + 1e-4);
  check_close(outcome_advantages(rewards, {}), {a, -a, -a, a});
}

TEST_CASE("without the division by std GRPO's base is in units of the fixed scale") {
  AdvantageOptions options;
  options.divide_by_std = false;
  check_close(outcome_advantages(std::vector<double>{1, 0, 0, 0}, options),
              {0.75 / 0.35, -0.25 / 0.35, -0.25 / 0.35, -0.25 / 0.35});
}

TEST_CASE("Dr.GRPO centres, RLOO leaves the own reward out of the mean, REINFORCE++ may centre") {
  AdvantageOptions options;
  const std::vector<double> rewards{1, 0, 0, 0.5};
  options.base = OutcomeBase::kDrGrpo;
  check_close(outcome_advantages(rewards, options), {0.625, -0.375, -0.375, 0.125});
  options.base = OutcomeBase::kReinforcePpBaseline;
  check_close(outcome_advantages(rewards, options), {0.625, -0.375, -0.375, 0.125});
  options.base = OutcomeBase::kReinforcePp;
  check_close(outcome_advantages(rewards, options), {1, 0, 0, 0.5});
  check_close(outcome_advantages(std::vector<double>{0.5, 0.5}, options), {0.5, 0.5});
  options.base = OutcomeBase::kRloo;  // 1 - .5/3, 0 - 1.5/3, 0 - 1.5/3, .5 - 1/3
  check_close(outcome_advantages(rewards, options), {1 - 0.5 / 3, -0.5, -0.5, 0.5 - 1.0 / 3});
}

TEST_CASE("groups of equal rewards and groups of one have a base of exactly zero") {
  for (const auto base : {OutcomeBase::kGrpo, OutcomeBase::kDrGrpo, OutcomeBase::kRloo,
                          OutcomeBase::kReinforcePpBaseline}) {
    AdvantageOptions options;
    options.base = base;
    CHECK(outcome_advantages(std::vector<double>(7, 0.1), options) == std::vector<double>(7, 0.0));
    CHECK(outcome_advantages(std::vector<double>{1}, options) == std::vector<double>{0});
    CHECK(outcome_advantages({}, options).empty());
  }
}

TEST_CASE("the length penalty takes its share of the reward, at most c") {
  AdvantageOptions options;
  CHECK(penalised_reward(1, 1000, options) == 1);
  options.length_penalty = 0.3;
  options.length_penalty_ref = 64;
  CHECK(penalised_reward(1, 32, options) == Approx(0.85));
  CHECK(penalised_reward(1, 640, options) == Approx(0.7));
  CHECK(penalised_reward(0.5, 32, options) == Approx(0.425));
  CHECK(penalised_reward(0, 32, options) == 0);
}

TEST_CASE("plug_in adds beta times the centred step advantages to the base, traced by hand") {
  // Two rollouts, gamma 1, lambda 0. Gains: (.5, .5) with mean .5; (-.25) with mean -.25.
  // mu_g = (.5 - .25) / 2 = .125. Rewards 1, 0: Dr.GRPO's base .5, -.5.
  AdvantageOptions options;
  options.base = OutcomeBase::kDrGrpo;
  options.beta = 2;
  const std::vector<StepRollout> group{{1, {0, 0.5}, {3, 4}}, {0, {0.25}, {5}}};
  const auto advantages = group_advantages(group, options);
  check_close(advantages[0], {0.5 + 2 * 0.375, 0.5 + 2 * 0.375});
  check_close(advantages[1], {-0.5 - 2 * 0.375});
}

TEST_CASE("step_group gives the step advantages in standard deviations of the group") {
  // The same gains: mu .125, sigma^2 = (.375^2 + .375^2) / 2, sigma = .375.
  AdvantageOptions options = options_of(AdvantageKind::kStepGroup);
  options.eps = 0.125;
  const std::vector<StepRollout> group{{1, {0, 0.5}, {3, 4}}, {0, {0.25}, {5}}};
  const auto advantages = group_advantages(group, options);
  check_close(advantages[0], {0.375 / 0.5, 0.375 / 0.5});
  check_close(advantages[1], {-0.375 / 0.5});
}

TEST_CASE("a rollout of many steps weighs no more than one of a single step") {
  AdvantageOptions options = options_of(AdvantageKind::kStepGroup);
  options.eps = 1;
  std::vector<StepRollout> group{{1, {0}, {1}}, {0, {0}, {1}}};
  const double before = group_advantages(group, options)[0][0];
  // Ten steps that gain nothing and end wrong: the mean of their advantages is still 0.
  group[1] = {0, std::vector<double>(10, 0.0), std::vector<int64_t>(10, 1)};
  CHECK(group_advantages(group, options)[0][0] == Approx(before));
}

TEST_CASE("outcome gives every step the base and needs no values") {
  AdvantageOptions options = options_of(AdvantageKind::kOutcome);
  options.base = OutcomeBase::kDrGrpo;
  const std::vector<StepRollout> group{{1, {}, {3, 4, 5}}, {0, {}, {6}}, {0, {}, {}}};
  const auto advantages = group_advantages(group, options);
  check_close(advantages[0], {2.0 / 3, 2.0 / 3, 2.0 / 3});
  check_close(advantages[1], {-1.0 / 3});
  CHECK(advantages[2].empty());
}

TEST_CASE("in a solved group only the steps' differences are left, on average zero") {
  AdvantageOptions options;
  options.beta = 3;
  const std::vector<StepRollout> group{{1, {0.5, 1}, {2, 2}}, {1, {0.5, 0.5, 1}, {2, 2, 2}}};
  const auto advantages = group_advantages(group, options);
  // Gains (.5, 0) and (0, .5, 0): means .25 and 1/6, mu = 5/24.
  check_close(advantages[0], {3 * (0.5 - 5.0 / 24), 3 * (0 - 5.0 / 24)});
  check_close(advantages[1], {-15.0 / 24, 3 * (0.5 - 5.0 / 24), -15.0 / 24});
}

TEST_CASE("an empty response takes part in the outcome and has no steps") {
  AdvantageOptions options;
  options.base = OutcomeBase::kDrGrpo;
  const std::vector<StepRollout> group{{1, {0.5}, {2}}, {0, {}, {}}};
  const auto advantages = group_advantages(group, options);
  check_close(advantages[0], {0.5});  // mu is the mean over the one rollout with steps
  CHECK(advantages[1].empty());
}

TEST_CASE("group advantages equal plain sums on random groups, for every kind and base") {
  std::mt19937 random(2);
  std::uniform_real_distribution<double> unit(0, 1);
  for (int round = 0; round < 300; ++round) {
    AdvantageOptions options;
    options.kind = static_cast<AdvantageKind>(round % 3);
    options.base = static_cast<OutcomeBase>(round % 4);
    options.beta = 3 * unit(random);
    options.gamma = unit(random);
    options.lambda = unit(random);
    options.length_aware = random() % 2 == 0;
    options.length_ref = 20;
    options.length_penalty = random() % 2 == 0 ? 0.3 : 0.0;
    const auto group = random_group(random);

    std::vector<std::vector<double>> raw;
    std::vector<double> rewards;
    double mu = 0;
    for (const auto& r : group) {
      raw.push_back(
          naive_gae(r.values, r.reward, step_gammas(r.step_tokens, options), options.lambda));
      rewards.push_back(penalised_reward(r.reward, r.tokens(), options));
      for (const double a : raw.back()) {
        mu += a / static_cast<double>(raw.back().size() * group.size());
      }
    }
    double variance = 0;
    for (const auto& steps : raw) {
      for (const double a : steps) {
        variance += (a - mu) * (a - mu) / static_cast<double>(steps.size() * group.size());
      }
    }
    const auto base = outcome_advantages(rewards, options);
    const auto got = group_advantages(group, options);
    for (size_t i = 0; i < group.size(); ++i) {
      std::vector<double> want;
      for (const double a : raw[i]) {
        switch (options.kind) {
          case AdvantageKind::kStepGroup:
            want.push_back((a - mu) / (std::sqrt(variance) + options.eps));
            break;
          case AdvantageKind::kPlugIn:
            want.push_back(base[i] + options.beta * (a - mu));
            break;
          case AdvantageKind::kOutcome:
            want.push_back(base[i]);
            break;
        }
      }
      check_close(got[i], want, 1e-9);
    }
  }
}

TEST_CASE("whitening gives the batch's tokens mean 0 and variance 1") {
  // Tokens: 3 of 2.0, 1 of -2.0. Mean 1, variance (3*1 + 9)/4 = 3.
  BatchMoments moments;
  moments.add(2, 3);
  moments.add(-2);
  moments.add(100, 0);
  CHECK(moments.whiten(2) == Approx(1 / std::sqrt(3.0)));
  CHECK(moments.whiten(-2) == Approx(-3 / std::sqrt(3.0)));
}

TEST_CASE("whitening advantages that are all equal gives zeros") {
  BatchMoments moments;
  moments.add(0.1, 7);
  moments.add(0.1, 5);
  CHECK(moments.whiten(0.1) == Approx(0).margin(1e-9));
}

}  // namespace tracewise
