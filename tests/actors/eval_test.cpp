// Evaluations: sets, estimates, intervals, and what belongs to one.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>

#include "actors/eval_result.hpp"
#include "actors/eval_run.hpp"

namespace tracewise {
namespace {

TracedRollout traced_of(uint64_t group, uint32_t sample, float reward, size_t tokens) {
  TracedRollout t;
  t.rollout.key = {group, 0};
  t.rollout.sample = sample;
  t.rollout.tokens.assign(tokens, 0);
  t.reward = reward;
  t.step_ends.assign(3, 0);
  return t;
}

TracedRollout failed(TracedRollout t) {
  t.rollout.failure = {FailureClass::kVerifierError, "no"};
  return t;
}

EvalSet set_of(const std::string& name, size_t prompts, uint32_t samples) {
  return {name, std::vector<Prompt>(prompts), samples};
}

const uint64_t kMath = first_eval_group("math");
const uint64_t kQuiz = first_eval_group("quiz");

}  // namespace

TEST_CASE("pass@k is one minus the share of k-subsets without a right rollout") {
  CHECK(pass_at_k(4, 1, 1) == Approx(1.0 / 4));
  CHECK(pass_at_k(4, 1, 2) == Approx(1 - 3.0 / 6));  // C(3,2) / C(4,2)
  CHECK(pass_at_k(4, 2, 2) == Approx(1 - 1.0 / 6));  // C(2,2) / C(4,2)
  CHECK(pass_at_k(5, 2, 3) == Approx(1 - 1.0 / 10));
  CHECK(pass_at_k(4, 1, 4) == 1);
  CHECK(pass_at_k(4, 0, 4) == 0);
  // C(190,100) / C(200,100), whose factorials no double holds: prod_{i=0}^{9} (100-i) / (200-i).
  CHECK(pass_at_k(200, 10, 100) == Approx(1 - 7.71026e-4).margin(1e-7));
}

TEST_CASE("rollouts of a prompt that agree count as one trial of an interval") {
  using Figures = std::vector<double>;
  // Right or wrong as a whole: as many trials as prompts, however many rollouts.
  CHECK(prompts_interval(Figures{1, 0, 0, 1}, 32).second ==
        Approx(wilson_interval(2, 4).second).margin(1e-12));
  CHECK(prompts_interval(Figures{1, 1, 1}, 24) == wilson_interval(3, 3));
  CHECK(prompts_interval(Figures{0, 0}, 16) == wilson_interval(0, 2));
  // Prompts that don't differ: every rollout is a trial.
  CHECK(prompts_interval(Figures{0.5, 0.5}, 16) == wilson_interval(8, 16));
  // Mean 1/2, variance 1/16 of a prompt: (1/4) * 2 / (1/16) = 8 trials.
  CHECK(prompts_interval(Figures{0.25, 0.75}, 100) == wilson_interval(4, 8));
  CHECK(prompts_interval(Figures{}, 0) == std::pair(0.0, 1.0));
}

TEST_CASE("an evaluation leaves failures out of their prompt, and prompts weigh the same") {
  const std::vector<EvalSet> sets = {set_of("math", 4, 3)};
  const std::vector<TracedRollout> rollouts = {traced_of(kMath + 1, 0, 0, 30),
                                               failed(traced_of(kMath + 1, 1, 0, 99)),
                                               failed(traced_of(kMath + 1, 2, 0, 99)),
                                               traced_of(kMath, 0, 1, 10),
                                               traced_of(kMath, 1, 0, 20),
                                               traced_of(kMath, 2, 0, 30),
                                               traced_of(kMath + 2, 0, 1, 10),
                                               traced_of(kMath + 2, 1, 0.75f, 10),
                                               failed(traced_of(kMath + 2, 2, 1, 99)),
                                               failed(traced_of(kMath + 3, 0, 1, 99)),
                                               failed(traced_of(kMath + 3, 1, 1, 99)),
                                               failed(traced_of(kMath + 3, 2, 1, 99))};
  const EvalResult r = measure(rollouts, sets, std::vector<uint32_t>{1, 2, 3});
  CHECK(r.prompts == 4);
  CHECK(r.measured_prompts == 3);
  CHECK(r.rollouts == 6);
  CHECK(r.failures == 6);
  CHECK(r.accuracy == Approx((1.0 / 3 + 0 + 0.875) / 3));
  CHECK(r.tokens_mean == Approx(110.0 / 6));
  REQUIRE(r.pass_at.size() == 3);
  CHECK(r.pass_at[0].value == Approx((1.0 / 3 + 0 + 1) / 3));  // 1 of 3, 0 of 1, 2 of 2
  CHECK(r.pass_at[0].prompts == 3);
  CHECK(r.pass_at[1].value == Approx((2.0 / 3 + 1) / 2));  // C(2,2) / C(3,2) = 1/3 miss
  CHECK(r.pass_at[1].prompts == 2);
  CHECK(r.pass_at[2].prompts == 1);
  CHECK(unmeasured_set(r) == nullptr);
  CHECK(r.sets.at(0).accuracy_low == r.accuracy_low);  // of one set the mean is its own
}

TEST_CASE("sets weigh the same in the mean, whatever their prompts") {
  const std::vector<EvalSet> sets = {set_of("quiz", 1, 2), set_of("math", 3, 1)};
  const std::vector<TracedRollout> rollouts = {
      traced_of(kMath, 0, 1, 10), traced_of(kMath + 1, 0, 0, 10), traced_of(kMath + 2, 0, 0, 10),
      traced_of(kQuiz, 0, 1, 40), traced_of(kQuiz, 1, 1, 60)};
  const EvalResult r = measure(rollouts, sets, std::vector<uint32_t>{1});
  REQUIRE(r.sets.size() == 2);
  CHECK(r.sets[0].tokens_mean == 50);
  CHECK(r.sets[1].accuracy == Approx(1.0 / 3));
  CHECK(r.accuracy == Approx((1 + 1.0 / 3) / 2));
  CHECK(r.tokens_mean == 30);
  // Limits' distances to the values are halved and added as squares.
  const double quiz_low = wilson_interval(1, 1).first, math_low = wilson_interval(1, 3).first;
  CHECK(r.accuracy_low ==
        Approx(r.accuracy - std::hypot((1 - quiz_low) / 2, (1.0 / 3 - math_low) / 2)));
}

TEST_CASE("a set's groups depend on its name alone and meet no other's") {
  CHECK(kMath != kQuiz);
  CHECK(kMath % kMaxSetPrompts == 0);
  // FNV-1a of "a" is 0xaf63dc4c8601ec8c; its halves' exclusive or ends in the 23 bits 0x6230c0.
  CHECK(first_eval_group("a") == (kEvalGroup | uint64_t{0x6230c0} << 24));
  using Names = std::vector<std::string>;
  CHECK(check_set_names(Names{"gsm8k", "MATH-500", "a.b_c"}).ok());
  CHECK_FALSE(check_set_names(Names{"a", "b", "a"}).ok());
  for (const char* name : {"", ".a", "a/b", "a b"}) CHECK_FALSE(check_set_names(Names{name}).ok());
  CHECK_FALSE(check(std::vector{set_of("math", 0, 1)}).ok());
}

}  // namespace tracewise
