#include "learner/sample_group.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <set>

#include "messages/validate.hpp"
#include "tests/learner/traced_samples.hpp"

namespace tracewise {
namespace {

SampleGroupOptions dr_grpo() {
  SampleGroupOptions options;
  options.advantage.base = OutcomeBase::kDrGrpo;
  options.advantage.beta = 2;
  return options;
}

SampleGroup built(std::vector<TracedRollout> rollouts, const SampleGroupOptions& options) {
  auto result = build_group(std::move(rollouts), options);
  REQUIRE(std::holds_alternative<SampleGroup>(result));
  CHECK(validate(std::get<SampleGroup>(result)).ok());
  return std::get<SampleGroup>(result);
}

std::vector<uint32_t> samples_of(const SampleGroup& group) {
  std::vector<uint32_t> out;
  for (const auto& rollout : group.rollouts) out.push_back(rollout.sample);
  return out;
}

// Gains (.5, .5) and (-.25): mu .125; Dr.GRPO's base .5 and -.5; see advantage_test.cpp.
std::vector<TracedRollout> right_and_wrong() {
  return {traced(1, {{20, 21, 22}}, {0.25f}, 0), traced(0, {{10}, {11, 12}}, {0, 0.5f}, 1)};
}

}  // namespace

TEST_CASE("every token of a step has the step's advantage, and rollouts are ordered by sample") {
  const SampleGroup group = built(right_and_wrong(), dr_grpo());
  CHECK(group.key == GroupKey{5, 0});
  CHECK(group.issue_version == 7);
  REQUIRE(samples_of(group) == std::vector<uint32_t>{0, 1});
  CHECK(group.rollouts[0].tokens == std::vector<int32_t>{1, 2, 10, 11, 12});
  CHECK(group.rollouts[0].prompt_tokens == 2);
  CHECK(group.rollouts[0].advantages == std::vector<float>{1.25f, 1.25f, 1.25f});
  CHECK(group.rollouts[1].advantages == std::vector<float>{-1.25f, -1.25f, -1.25f});
  // The loss compares with the policy's own log-probabilities, not the filtered ones.
  CHECK(group.rollouts[1].logprobs == std::vector<float>{-0.5f, -1.5f, -2.5f});
  CHECK(group.rollouts[1].versions == std::vector<uint64_t>{7, 8, 7});
}

TEST_CASE("steps with different advantages give their tokens different advantages") {
  SampleGroupOptions options = dr_grpo();
  options.advantage.beta = 1;
  // Gains (.75, .25) and (-.5): means .5, -.5, mu 0.
  const SampleGroup group =
      built({traced(0, {{10, 11}, {12}}, {0, 0.75f}, 1), traced(1, {{20}}, {0.5f}, 0)}, options);
  CHECK(group.rollouts[0].advantages == std::vector<float>{1.25f, 1.25f, 0.75f});
  CHECK(group.rollouts[1].advantages == std::vector<float>{-1.0f});
}

TEST_CASE("shaping moves the base alone, and makes a solved group carry a signal") {
  SampleGroupOptions options = dr_grpo();
  options.advantage.beta = 0;
  auto rollouts = right_and_wrong();
  rollouts[1].shaping = -0.5f;  // rewards 0 and 0.5: mean 0.25
  const SampleGroup group = built(rollouts, options);
  CHECK(group.rollouts[0].advantages[0] == 0.25f);
  CHECK(group.rollouts[1].advantages[0] == -0.25f);
  CHECK(group.stats.reward_sum == 1);
  CHECK(group.stats.shaping_sum == -0.5);

  auto solved = right_and_wrong();
  solved[0].reward = 1;
  CHECK_FALSE(carries_signal(solved, options));
  solved[0].shaping = -1;
  CHECK(carries_signal(solved, options));
}

TEST_CASE("failed rollouts enter neither the mean nor the group, and are counted") {
  auto rollouts = right_and_wrong();
  rollouts.push_back(failed(3, FailureClass::kVerifierTimeout));
  rollouts.push_back(failed(2, FailureClass::kVerifierError));
  const SampleGroup group = built(rollouts, dr_grpo());
  CHECK(samples_of(group) == std::vector<uint32_t>{0, 1});
  CHECK(group.rollouts == built(right_and_wrong(), dr_grpo()).rollouts);
  CHECK(group.stats.rollouts == 2);
  CHECK(group.stats.failures == 2);
  CHECK(group.stats.reward_sum == 1);
}

TEST_CASE("a group with too few good rollouts fails with its first failure by sample") {
  const auto result = build_group({failed(3, FailureClass::kEngine), traced(0, {{10}}, {0.5f}, 1),
                                   failed(1, FailureClass::kVerifierTimeout)},
                                  dr_grpo());
  REQUIRE(std::holds_alternative<GroupFailed>(result));
  CHECK(std::get<GroupFailed>(result) ==
        GroupFailed{{5, 0}, {FailureClass::kVerifierTimeout, "for the test"}});
}

TEST_CASE("a group whose every rollout failed has failed even if one good one would do") {
  SampleGroupOptions options = dr_grpo();
  options.min_good_rollouts = 1;
  CHECK(std::holds_alternative<GroupFailed>(
      build_group({failed(0, FailureClass::kEngine), failed(1, FailureClass::kEngine)}, options)));
}

TEST_CASE("a rollout without values has failed where the kind needs them, and not elsewhere") {
  auto rollouts = right_and_wrong();
  rollouts.push_back(traced(2, {{30}}, {}, 1));
  SampleGroupOptions options = dr_grpo();
  const SampleGroup stepwise = built(rollouts, options);
  CHECK(samples_of(stepwise) == std::vector<uint32_t>{0, 1});
  CHECK(stepwise.stats.failures == 1);
  options.advantage.kind = AdvantageKind::kOutcome;
  const SampleGroup outcome = built(rollouts, options);
  CHECK(samples_of(outcome) == std::vector<uint32_t>{0, 1, 2});
  CHECK(outcome.rollouts[2].advantages[0] == Approx(1.0 / 3));
}

TEST_CASE("a group whose responses are all the same is dropped, unless all groups are kept") {
  const auto size = [](std::vector<std::vector<int32_t>> last_step, UniformGroups uniform) {
    SampleGroupOptions options = dr_grpo();
    options.uniform_groups = uniform;
    return built({traced(0, {{10}, {11}}, {0, 0.5f}, 1),
                  traced(1, {{10}, last_step[0]}, {0, 0.25f}, 1)},
                 options)
        .rollouts.size();
  };
  CHECK(size({{11}}, UniformGroups::kKeepSolved) == 0);
  CHECK(size({{12}}, UniformGroups::kKeepSolved) == 2);
  CHECK(size({{11, 12}}, UniformGroups::kKeepSolved) == 2);
  CHECK(size({{11}}, UniformGroups::kKeep) == 2);
}

TEST_CASE("a group of equal rewards is dropped, kept, or kept if it is solved") {
  const auto group_of = [](float reward) {
    return std::vector<TracedRollout>{traced(0, {{10}}, {0.5f}, reward),
                                      traced(1, {{20}}, {0.25f}, reward)};
  };
  const auto size = [&](float reward, UniformGroups uniform) {
    SampleGroupOptions options = dr_grpo();
    options.uniform_groups = uniform;
    const SampleGroup group = built(group_of(reward), options);
    CHECK(group.stats.rollouts == 2);  // it counts towards its batch all the same
    CHECK(group.pairs.empty() == group.rollouts.empty());
    return group.rollouts.size();
  };
  CHECK(size(1, UniformGroups::kDrop) == 0);
  CHECK(size(0, UniformGroups::kDrop) == 0);
  CHECK(size(1, UniformGroups::kKeepSolved) == 2);
  CHECK(size(0, UniformGroups::kKeepSolved) == 0);
  CHECK(size(0.5f, UniformGroups::kKeepSolved) == 0);
  CHECK(size(0, UniformGroups::kKeep) == 2);
}

TEST_CASE("a length penalty makes a solved group of unequal lengths a signal of its own") {
  SampleGroupOptions options = dr_grpo();
  options.advantage.kind = AdvantageKind::kOutcome;
  options.advantage.length_penalty = 0.5;
  options.advantage.length_penalty_ref = 4;
  // Lengths 1 and 3: R' = 1 - .5/4 = .875 and 1 - .5*3/4 = .625, mean .75.
  const std::vector<TracedRollout> rollouts{traced(0, {{10}}, {}, 1),
                                            traced(1, {{20, 21, 22}}, {}, 1)};
  const SampleGroup group = built(rollouts, options);
  REQUIRE(group.rollouts.size() == 2);
  CHECK(group.rollouts[0].advantages[0] == Approx(0.125));
  CHECK(group.rollouts[1].advantages[2] == Approx(-0.125));
  options.advantage.length_penalty = 0;
  CHECK(built(rollouts, options).rollouts.empty());
}

TEST_CASE("the stats are sums over the good rollouts and the costs of all, traced by hand") {
  // Rollout 0: solved (V_2 = .95) after 3 tokens, 2 checking; .6 -> .4 is right-to-wrong.
  // Rollout 1: never solved, 4 tokens. Brier: 0: .4^2 + .6^2 + .05^2 with R = 1; 1: .25^2 with R =
  // 0.
  auto first = traced(0, {{10}, {11, 12}, {13, 14}}, {0.6f, 0.4f, 0.95f}, 1);
  auto second = traced(1, {{20, 21, 22, 23}}, {0.25f}, 0);
  second.rollout.finish = FinishReason::kLength;
  second.probed_by_other_weights = true;
  const auto bad = failed(2, FailureClass::kVerifierError);
  const GroupStats stats = group_stats(std::vector<TracedRollout>{first, second, bad});
  CHECK(stats.rollouts == 2);
  CHECK(stats.failures == 1);
  CHECK(stats.reward_sum == 1);
  CHECK(stats.response_tokens == 9);
  CHECK(stats.steps == 4);
  CHECK(stats.truncated == 1);
  CHECK(stats.probed_rollouts == 2);
  CHECK(stats.solving_tokens == 7);
  CHECK(stats.checking_tokens == 2);
  CHECK(stats.right_to_wrong == 1);
  CHECK(stats.value_steps == 2);
  CHECK(stats.brier_sum == Approx(0.16 + 0.36 + 0.0025 + 0.0625));
  CHECK(stats.values == 4);
  CHECK(stats.probe_tokens == 30);
  CHECK(stats.probe_seconds == 0.75);
  CHECK(stats.generate_seconds == 1.5);
  CHECK(stats.probed_by_other_weights == 1);
}

TEST_CASE("a value above 0.9 before the first step makes every token a checking token") {
  const auto stats = group_stats(std::vector<TracedRollout>{traced(0, {{10, 11}}, {0.95f}, 1)});
  CHECK(stats.solving_tokens == 0);
  CHECK(stats.checking_tokens == 2);
}

TEST_CASE("shuffled values keep V_0 and the other values, and depend on seed, group and sample") {
  const std::vector<float> values{0.0f, 0.1f, 0.2f, 0.3f, 0.4f, 0.5f, 0.6f, 0.7f};
  const auto shuffled = shuffled_values(values, 1, 2, 3);
  CHECK(shuffled == shuffled_values(values, 1, 2, 3));
  CHECK(shuffled[0] == 0.0f);
  CHECK(std::is_permutation(shuffled.begin(), shuffled.end(), values.begin()));
  CHECK(shuffled != values);
  CHECK(shuffled != shuffled_values(values, 9, 2, 3));
  CHECK(shuffled != shuffled_values(values, 1, 9, 3));
  CHECK(shuffled != shuffled_values(values, 1, 2, 9));
  CHECK(shuffled_values({0.5f}, 1, 2, 3) == std::vector<float>{0.5f});
  CHECK(shuffled_values({}, 1, 2, 3).empty());
}

TEST_CASE("every order of three values occurs about equally often") {
  std::map<std::vector<float>, int> counts;
  for (uint32_t sample = 0; sample < 6000; ++sample) {
    ++counts[shuffled_values({0.0f, 0.1f, 0.2f, 0.3f}, 4, 5, sample)];
  }
  CHECK(counts.size() == 6);
  // 1000 each, standard deviation 29.
  for (const auto& [order, count] : counts) CHECK(std::abs(count - 1000) < 150);
}

TEST_CASE("the shuffled control trains on permuted values and reports the true ones") {
  SampleGroupOptions options = dr_grpo();
  options.advantage.beta = 1;
  const auto rollouts = [] {
    return std::vector<TracedRollout>{
        traced(0, {{10}, {11}, {12}, {13}, {14}}, {0, 0.2f, 0.4f, 0.6f, 0.8f}, 1),
        traced(1, {{20}}, {0.5f}, 0)};
  };
  const SampleGroup plain = built(rollouts(), options);
  options.shuffle_values = true;
  // Some seed among these gives another order than the true one.
  std::set<std::vector<float>> seen;
  for (options.seed = 0; options.seed < 8; ++options.seed) {
    const SampleGroup shuffled = built(rollouts(), options);
    CHECK(shuffled.stats == plain.stats);
    seen.insert(shuffled.rollouts[0].advantages);
    // With gamma 1 and lambda 0 the gains add up to R - V_0 in any order.
    float sum = 0;
    for (const float a : shuffled.rollouts[0].advantages) sum += a;
    float plain_sum = 0;
    for (const float a : plain.rollouts[0].advantages) plain_sum += a;
    CHECK(sum == Approx(plain_sum));
  }
  CHECK(seen.size() > 4);
}

TEST_CASE(
    "finish_batch whitens over the tokens of all groups for both forms of REINFORCE++ alone") {
  SampleGroupOptions options = dr_grpo();
  options.advantage.kind = AdvantageKind::kOutcome;
  options.advantage.base = OutcomeBase::kReinforcePpBaseline;
  // Group 0: rewards 1, 0, lengths 1 and 3: advantages .5 once, -.5 three times.
  std::vector<SampleGroup> groups{
      built({traced(0, {{10}}, {}, 1), traced(1, {{20, 21, 22}}, {}, 0)}, options), SampleGroup{}};
  const auto raw = groups;
  finish_batch(groups, options.advantage);
  // Mean -.25, variance (.75^2 + 3 * .25^2) / 4 = .1875.
  const double sigma = std::sqrt(0.1875 + 1e-8);
  CHECK(groups[0].rollouts[0].advantages[0] == Approx(0.75 / sigma));
  CHECK(groups[0].rollouts[1].advantages[2] == Approx(-0.25 / sigma));

  // Without the baseline the advantages are 1 once and 0 three times: mean .25, the same variance.
  options.advantage.base = OutcomeBase::kReinforcePp;
  std::vector<SampleGroup> plain{
      built({traced(0, {{10}}, {}, 1), traced(1, {{20, 21, 22}}, {}, 0)}, options)};
  CHECK(plain[0].rollouts[0].advantages[0] == 1);
  finish_batch(plain, options.advantage);
  CHECK(plain[0].rollouts[0].advantages[0] == Approx(0.75 / sigma));
  CHECK(plain[0].rollouts[1].advantages[2] == Approx(-0.25 / sigma));

  auto untouched = raw;
  options.advantage.base = OutcomeBase::kGrpo;
  finish_batch(untouched, options.advantage);
  CHECK(untouched == raw);
}

TEST_CASE("an assembler gives a group out when its last sample arrives") {
  GroupAssembler assembler(dr_grpo());
  const auto sample = [](uint32_t i, uint32_t attempt) {
    TracedRollout t =
        traced(i, {{10 + static_cast<int32_t>(i)}}, {0.5f}, static_cast<float>(i % 2));
    t.rollout.group_samples = 3;
    t.rollout.key.attempt = attempt;
    return t;
  };
  CHECK_FALSE(assembler.put(sample(2, 0)));
  CHECK_FALSE(assembler.put(sample(0, 0)));
  CHECK(assembler.open_groups() == 1);
  const auto group = assembler.put(sample(1, 0));
  REQUIRE(group);
  CHECK(samples_of(std::get<SampleGroup>(*group)) == std::vector<uint32_t>{0, 1, 2});
  CHECK(assembler.open_groups() == 0);
}

TEST_CASE("an assembler ignores duplicates and older attempts, and starts over for a newer one") {
  GroupAssembler assembler(dr_grpo());
  const auto sample = [](uint32_t i, uint32_t attempt) {
    TracedRollout t =
        traced(i, {{10 + static_cast<int32_t>(i)}}, {0.5f}, static_cast<float>(i % 2));
    t.rollout.group_samples = 2;
    t.rollout.key.attempt = attempt;
    return t;
  };
  CHECK_FALSE(assembler.put(sample(0, 0)));
  CHECK_FALSE(assembler.put(sample(0, 0)));
  CHECK(assembler.ignored() == 1);
  CHECK_FALSE(assembler.put(sample(1, 1)));  // replaces attempt 0
  CHECK_FALSE(assembler.put(sample(0, 0)));
  CHECK(assembler.ignored() == 2);
  const auto group = assembler.put(sample(0, 1));
  REQUIRE(group);
  CHECK(std::get<SampleGroup>(*group).key == GroupKey{5, 1});

  CHECK_FALSE(assembler.put(sample(0, 2)));
  assembler.drop(5);
  CHECK(assembler.open_groups() == 0);
}

TEST_CASE("a group whose rewards are all equal needs no values to come out empty") {
  std::vector<TracedRollout> rollouts;
  for (uint32_t s = 0; s < 2; ++s) {
    TracedRollout traced;
    traced.rollout.sample = s;
    traced.rollout.group_samples = 2;
    traced.rollout.tokens = {5, 6};
    traced.rollout.policy_logprobs = {0, 0};
    traced.rollout.versions = {3, 3};
    traced.step_ends = {1, 2};
    rollouts.push_back(traced);
  }
  SampleGroupOptions options;
  options.advantage.kind = AdvantageKind::kPlugIn;
  const BuiltGroup built = build_group(rollouts, options);
  REQUIRE(std::holds_alternative<SampleGroup>(built));
  CHECK(std::get<SampleGroup>(built).rollouts.empty());
  CHECK(std::get<SampleGroup>(built).stats.rollouts == 2);
  rollouts[0].rollout.tokens = {5, 7};
  rollouts[0].reward = 1;  // now it carries a signal, and values are missed
  CHECK(std::holds_alternative<GroupFailed>(build_group(rollouts, options)));
}

}  // namespace tracewise
