#include <catch2/catch.hpp>
#include <chrono>
#include <string>

#include "rollout/rewards/choice.hpp"
#include "rollout/rewards/pattern.hpp"
#include "rollout/rewards/shaping.hpp"
#include "rollout/verifier.hpp"

namespace tracewise {
namespace {

Prompt with_gold(const std::string& gold) { return {"p7", {1}, gold, {}}; }

Verdict verdict(const VerifierOptions& options, const std::string& gold,
                const std::string& response) {
  return (*make_verifier(options))->verify(with_gold(gold), response, FinishReason::kStop);
}

RewardTerm overlong(double weight) {
  return {.kind = RewardTermKind::kOverlong, .weight = weight, .max_tokens = 8, .cache_tokens = 4};
}

}  // namespace

TEST_CASE("a choice is a letter in its usual dress") {
  for (const char* text : {"B", "b", "(B)", "B.", "B)", " B ", "\\text{B}", "\\textbf{(B)}", "$B$",
                           "**B**", "(B) Paris", "B. Paris", "B: Paris", "option B", "[B]"}) {
    INFO(text);
    CHECK(choice_of(text) == 'B');
  }
  for (const char* text : {"", "Bob", "12", "B2", "a dog", "()", "because"}) {
    INFO(text);
    CHECK_FALSE(choice_of(text));
  }
}

TEST_CASE("a response chooses in its box, its announcement, its brackets or its last line") {
  CHECK(choice_in("(A) is wrong, so \\boxed{C}") == 'C');
  CHECK(choice_in("\\boxed{\\text{C}}") == 'C');
  CHECK(choice_in("The answer is B because (A) is not.") == 'B');
  CHECK(choice_in("The answer is (B).") == 'B');
  CHECK(choice_in("Answer: **D**") == 'D');
  CHECK(choice_in("The correct answer is: B. Paris") == 'B');
  CHECK(choice_in("I like (A) less than (C) here") == 'C');
  CHECK(choice_in("Let me think.\nB. Paris") == 'B');
  CHECK(choice_in("B") == 'B');
  CHECK_FALSE(choice_in("The answer is a dog"));
  CHECK_FALSE(choice_in("I don't know"));
  CHECK_FALSE(choice_in("\\boxed{12}, not (A)"));
}

TEST_CASE("choice compares letters and refuses a gold answer that is none") {
  const VerifierOptions options{.kind = VerifierKind::kChoice};
  CHECK(verdict(options, "(B)", "so \\boxed{b}").reward == 1);
  CHECK(verdict(options, "B", "so \\boxed{C}").reward == 0);
  CHECK(verdict(options, "B", "no idea").reward == 0);
  CHECK((*make_verifier(options))->check(with_gold("Paris")).error().message ==
        "prompt \"p7\" has the gold answer \"Paris\", no letter of a choice");
  const VerifierOptions tagged{
      .kind = VerifierKind::kChoice, .answer_prefix = "<a>", .answer_suffix = "</a>"};
  CHECK(verdict(tagged, "B", "\\boxed{C} <a>B</a>").reward == 1);
}

TEST_CASE("gsm8k compares the numbers behind the last marks") {
  const VerifierOptions options{.kind = VerifierKind::kGsm8k};
  const std::string gold = "5 * 250 = <<5*250=1250>>1250\n#### 1,250";
  CHECK(verdict(options, gold, "#### 1250").reward == 1);
  CHECK(verdict(options, gold, "I get 7.\n#### $1,250.00 in all, of 3").reward == 1);
  CHECK(verdict(options, gold, "#### 7\n#### 1250").reward == 1);
  CHECK(verdict(options, gold, "1250 #### 7").reward == 0);
  CHECK(verdict(options, gold, "The answer is 1250.").reward == 1);  // the last number
  CHECK(verdict(options, "1250", "#### 1251").reward == 0);
  CHECK(verdict(options, gold, "none").reward == 0);
  CHECK((*make_verifier(options))->check(with_gold("#### many")).error().message ==
        "prompt \"p7\" has the gold answer \"many\", no number");
}

TEST_CASE("format asks for a match somewhere, and needs no gold answer") {
  const VerifierOptions options{.kind = VerifierKind::kFormat,
                                .pattern = "(?s)^<think>.*</think>\\s*\\S"};
  CHECK(verdict(options, "", "<think>a\nb</think>\n5").reward == 1);
  CHECK(verdict(options, "", "so <think>a</think> 5").reward == 0);
  CHECK(verdict(options, "", "<think>a</think>").reward == 0);
  CHECK((*make_verifier(options))->check(with_gold("")).ok());
  const Verdict cut =
      (*make_verifier(options))->verify(with_gold(""), "<think></think>5", FinishReason::kLength);
  CHECK(cut.reward == 0);
}

TEST_CASE("a pattern that is none is refused with its place") {
  CHECK(check_verifier_options({.kind = VerifierKind::kFormat, .pattern = "(a"}).error().message ==
        "the pattern \"(a\" is wrong at byte 2: missing closing parenthesis");
  CHECK(check_verifier_options({.kind = VerifierKind::kFormat}).error().message ==
        "kind format needs a pattern");
  CHECK(check_verifier_options({.pattern = "(a"}).ok());  // not asked for
}

TEST_CASE("a match that takes too long is a failure, not reward 0") {
  const VerifierOptions options{.kind = VerifierKind::kFormat, .pattern = "^(a+)+$"};
  const auto begin = std::chrono::steady_clock::now();
  const Verdict out = verdict(options, "", std::string(5000, 'a') + "b");
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(2));
  CHECK(out.failure ==
        Failure{FailureClass::kVerifierError, "the pattern was given up: match limit exceeded"});
}

TEST_CASE("bytes that are no UTF-8 match nothing and break nothing") {
  const auto pattern = Pattern::make("a.c");
  REQUIRE(pattern.ok());
  CHECK_FALSE(
      *pattern->matches("a\xff"
                        "c"));
  CHECK(*pattern->matches("\xff\xfe aéc \xc3"));
}

TEST_CASE("the soft overlong penalty is DAPO's equation 13") {
  // L_max 8, L_cache 4: 0 up to 4, then (4 - L) / 4.
  CHECK(soft_overlong_penalty(0, 8, 4) == 0);
  CHECK(soft_overlong_penalty(4, 8, 4) == 0);
  CHECK(soft_overlong_penalty(5, 8, 4) == -0.25);
  CHECK(soft_overlong_penalty(7, 8, 4) == -0.75);
  CHECK(soft_overlong_penalty(8, 8, 4) == -1);
  CHECK(soft_overlong_penalty(9, 8, 4) == -1);
  CHECK(soft_overlong_penalty(1, 4, 4) == -0.25);
}

TEST_CASE("the repetition penalty is the share of n-grams that occurred before") {
  const std::vector<int32_t> varied{1, 2, 3, 4}, twice{1, 2, 1, 2, 1}, same{7, 7, 7, 7, 7};
  CHECK(repetition_penalty(varied, 2) == 0);
  CHECK(repetition_penalty(twice, 2) == -0.5);  // 12 21 12 21: two of four
  CHECK(repetition_penalty(same, 2) == -0.75);  // 77 four times
  CHECK(repetition_penalty(same, 5) == 0);      // one 5-gram
  CHECK(repetition_penalty(same, 6) == 0);      // none
  CHECK(repetition_penalty({}, 1) == 0);
}

TEST_CASE("shaping is the weighted sum of its terms") {
  std::vector<RewardTerm> terms;
  terms.push_back(overlong(0.5));
  terms.push_back({.kind = RewardTermKind::kRepetition, .weight = 2, .ngram = 1});
  terms.push_back({.kind = RewardTermKind::kVerifier,
                   .weight = 0.25,
                   .verifier = {.kind = VerifierKind::kFormat, .pattern = "^ok"}});
  const Shaping shaping = *Shaping::make(terms);
  const std::vector<int32_t> tokens{1, 2, 3, 4, 5, 5};
  // 0.5 * -0.5 + 2 * (5 / 6 - 1) + 0.25 * 1
  const Shaped shaped = shaping.of(with_gold("5"), tokens, "ok then", FinishReason::kStop);
  CHECK(shaped.sum == Approx(-1.0 / 3));
  CHECK_FALSE(shaped.failure.failed());
  CHECK(Shaping::make({})->of(with_gold("5"), tokens, "ok", FinishReason::kStop).sum == 0);
}

TEST_CASE("a term whose verifier cannot tell fails the sample") {
  std::vector<RewardTerm> terms(1);
  terms[0].kind = RewardTermKind::kVerifier;
  terms[0].verifier.kind = VerifierKind::kNumeric;
  const Shaping shaping = *Shaping::make(std::move(terms));
  CHECK(shaping.check(with_gold("5")).ok());
  CHECK_FALSE(shaping.check(with_gold("many")).ok());
  CHECK(shaping.of(with_gold("many"), {}, "5", FinishReason::kStop).failure.failure_class ==
        FailureClass::kVerifierError);
}

TEST_CASE("a term that makes no sense is refused") {
  const auto refusal = [](const RewardTerm& term) {
    return check_reward_term(term).error().message;
  };
  CHECK(check_reward_term(overlong(1)).ok());
  CHECK(refusal({}) == "a term needs its kind");
  CHECK(refusal({.kind = RewardTermKind::kOverlong}) ==
        "kind overlong needs max_tokens, and cache_tokens from 1 to it");
  CHECK(refusal({.kind = RewardTermKind::kOverlong, .max_tokens = 4, .cache_tokens = 5}) ==
        "kind overlong needs max_tokens, and cache_tokens from 1 to it");
  CHECK(refusal({.kind = RewardTermKind::kRepetition, .ngram = 0}) ==
        "kind repetition needs an ngram of at least 1");
  CHECK(refusal({.kind = RewardTermKind::kVerifier, .verifier = {.kind = VerifierKind::kFormat}}) ==
        "kind format needs a pattern");
}

}  // namespace tracewise
