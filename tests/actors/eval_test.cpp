// Evaluations: sets, estimates, intervals, and what belongs to one.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <set>

#include "actors/eval_outputs.hpp"
#include "actors/eval_result.hpp"
#include "actors/eval_run.hpp"
#include "model/file_io.hpp"
#include "tests/temp_dir.hpp"

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

TEST_CASE("an interval of pass@k counts the k rollouts that it takes as one trial") {
  // Each of two prompts has 2 right ones of 4: accuracies that agree, so that all 8 rollouts are
  // trials, but 4 pairs.
  const std::vector<EvalSet> sets = {set_of("math", 2, 4)};
  std::vector<TracedRollout> rollouts;
  for (const uint32_t i : {0, 1, 2, 3, 4, 5, 6, 7})
    rollouts.push_back(traced_of(kMath + i / 4, i % 4, i % 2 == 0 ? 1 : 0, 10));
  const EvalResult r = measure(rollouts, sets, std::vector<uint32_t>{1, 2});
  CHECK(r.accuracy_low == wilson_interval(4, 8).first);
  CHECK(r.pass_at[0].low == wilson_interval(4, 8).first);
  const double pass = 1 - 1.0 / 6;  // C(2,2) / C(4,2) miss
  CHECK(r.pass_at[1].value == Approx(pass));
  CHECK(r.pass_at[1].low == Approx(wilson_interval(4 * pass, 4).first));
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

TEST_CASE("a set without a good rollout is named, with its own first failure") {
  const std::vector<EvalSet> sets = {set_of("math", 1, 2), set_of("quiz", 2, 1)};
  std::vector<TracedRollout> rollouts = {
      failed(traced_of(kQuiz + 1, 0, 0, 10)), failed(traced_of(kQuiz, 0, 0, 10)),
      failed(traced_of(kMath, 1, 0, 10)), traced_of(kMath, 0, 1, 10)};
  rollouts[1].rollout.failure.message = "quiz's";
  rollouts[2].rollout.failure.message = "math's";
  const EvalResult r = measure(rollouts, sets, std::vector<uint32_t>{1});
  REQUIRE(unmeasured_set(r) != nullptr);
  CHECK(*unmeasured_set(r) == "quiz");
  CHECK(first_failure(rollouts, "quiz").message == "quiz's");
  CHECK(first_failure(rollouts, "math").message == "math's");
  CHECK_FALSE(first_failure(rollouts, "other").failed());
}

TEST_CASE("the outputs of the newest evaluations and of the best are kept") {
  const TempDir dir;
  const auto kept = [&] {
    std::set<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(dir / "evals"))
      names.insert(entry.path().filename().string());
    return names;
  };
  using Names = std::set<std::string>;
  EvalOutputs outputs(dir / "evals", 2);
  EvalResult result;
  REQUIRE(outputs.save(result, {}, 0).ok());  // nobody writes yet
  CHECK_FALSE(std::filesystem::exists(dir / "evals"));
  outputs.save_with(
      [](const auto& file, const EvalResult&, auto) { return write_file(file, "x"); });
  for (const uint64_t step : {0, 8, 9, 10, 11}) {
    result.step = step;
    REQUIRE(outputs.save(result, {}, step < 8 ? 0 : 8).ok());
  }
  CHECK(kept() == Names{"step-8.jsonl", "step-10.jsonl", "step-11.jsonl"});
  // What the user put there is the user's.
  for (const char* name : {"step-1.txt", "step-x.jsonl", "notes"})
    REQUIRE(write_file(dir / "evals" / name, "x").ok());
  REQUIRE(outputs.forget_after(10).ok());
  CHECK(kept() == Names{"step-8.jsonl", "step-10.jsonl", "step-1.txt", "step-x.jsonl", "notes"});

  EvalOutputs none(dir / "none", 0);
  none.save_with([](const auto& file, const EvalResult&, auto) { return write_file(file, "x"); });
  REQUIRE(none.save(result, {}, 0).ok());
  CHECK_FALSE(std::filesystem::exists(dir / "none"));
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
