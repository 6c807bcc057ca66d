#include "rollout/verifier.hpp"

#include <catch2/catch.hpp>

#include "model/tokenizer.hpp"

namespace tracewise {
namespace {

Prompt with_gold(const std::string& gold) { return {"p7", {1}, gold, {}}; }

float reward(const VerifierOptions& options, const std::string& gold, const std::string& response,
             FinishReason finish = FinishReason::kStop) {
  const Verdict verdict = (*make_verifier(options))->verify(with_gold(gold), response, finish);
  CHECK_FALSE(verdict.failure.failed());
  return verdict.reward;
}

TEST_CASE("exact compares the text after the last prefix") {
  const VerifierOptions options{.answer_prefix = "ans "};
  CHECK(reward(options, "27", "3+8=1\nans 27") == 1);
  CHECK(reward(options, " 27", "ans 27 \n") == 1);
  CHECK(reward(options, "27", "ans 2 7") == 0);
  CHECK(reward(options, "27", "ans 27\nans 28") == 0);
  CHECK(reward(options, "27", "27") == 0);  // no prefix
  CHECK(reward({}, "yes", "yes") == 1);
  CHECK(reward({}, "yes", "oh yes") == 0);
}

TEST_CASE("a response that ran into its length gets 0 where a stop is required") {
  VerifierOptions options{.answer_prefix = "ans "};
  CHECK(reward(options, "27", "ans 27", FinishReason::kLength) == 0);
  options.require_stop = false;
  CHECK(reward(options, "27", "ans 27", FinishReason::kLength) == 1);
}

TEST_CASE("numeric compares numbers, not spellings") {
  const VerifierOptions options{.kind = VerifierKind::kNumeric};
  CHECK(reward(options, "1200", "so it is 7 then 1,200.0") == 1);
  CHECK(reward(options, "0.75", "3/4") == 1);
  CHECK(reward(options, "-5", "8 - 13 = -5") == 1);
  CHECK(reward(options, "5", "-5") == 0);
  CHECK(reward(options, "5", "no idea") == 0);
}

TEST_CASE("numeric's tolerance is relative above 1 and absolute below") {
  const VerifierOptions options{.kind = VerifierKind::kNumeric, .tolerance = 1e-2};
  CHECK(reward(options, "1000", "1009") == 1);
  CHECK(reward(options, "1000", "1011") == 0);
  CHECK(reward(options, "0.001", "0.0105") == 1);
  CHECK(reward(options, "0.001", "0.0115") == 0);
}

TEST_CASE("numeric with a prefix takes the first number of the answer") {
  const VerifierOptions options{
      .kind = VerifierKind::kNumeric, .answer_prefix = "\\boxed{", .answer_suffix = "}"};
  CHECK(reward(options, "42", "\\boxed{42 m} of 50") == 1);
  CHECK(reward(options, "50", "\\boxed{42 m} of 50") == 0);
  CHECK(reward(options, "42", "42") == 0);
}

TEST_CASE("math compares the value of the final answer") {
  const VerifierOptions options{.kind = VerifierKind::kMath};
  CHECK(reward(options, "\\frac{1}{2}", "It is 3 times \\boxed{0.5}.") == 1);
  CHECK(reward(options, "We get $\\boxed{12}$ apples", "the answer is 12") == 1);
  CHECK(reward(options, "12", "the answer is 13") == 0);
  CHECK(reward(options, "12", "\\boxed{12 +}") == 0);  // no answer is a wrong one
  CHECK(reward(options, "12", "") == 0);
  CHECK(reward(options, "12", "\\boxed{12}", FinishReason::kLength) == 0);
}

TEST_CASE("math with a prefix takes what follows it") {
  const VerifierOptions options{
      .kind = VerifierKind::kMath, .answer_prefix = "<answer>", .answer_suffix = "</answer>"};
  CHECK(reward(options, "2", "\\boxed{3} <answer>\\frac{4}{2}</answer> 5") == 1);
  CHECK(reward(options, "2", "2") == 0);
}

TEST_CASE("math refuses a gold answer that it cannot read") {
  const auto verifier = *make_verifier({.kind = VerifierKind::kMath});
  CHECK(verifier->check(with_gold("\\frac{1}{2}")).ok());
  CHECK(
      verifier->check(with_gold("\\frac{1}{")).error().message ==
      "prompt \"p7\" has the gold answer \"\\frac{1}{\", which cannot be read: it ends too early");
  CHECK(
      verifier->verify(with_gold("1 +"), "\\boxed{1}", FinishReason::kStop).failure.failure_class ==
      FailureClass::kVerifierError);
}

TEST_CASE("a gold answer that cannot be compared with is a failure, not reward 0") {
  const auto failure = [](VerifierKind kind, const std::string& gold, const std::string& response) {
    return (*make_verifier({.kind = kind}))
        ->verify(with_gold(gold), response, FinishReason::kLength)
        .failure;
  };
  CHECK(failure(VerifierKind::kExact, "", "x") ==
        Failure{FailureClass::kVerifierError, "prompt \"p7\" has no gold answer"});
  const auto numeric = (*make_verifier({.kind = VerifierKind::kNumeric}))
                           ->verify(with_gold("many"), "no number", FinishReason::kStop);
  CHECK(numeric.failure == Failure{FailureClass::kVerifierError,
                                   "prompt \"p7\" has the gold answer \"many\", no number"});
}

TEST_CASE("a special token inside an answer does not hide there") {
  const auto tokenizer = make_symbol_tokenizer({"<pad>", "<eos>", "2", "7"}, {0, 1}, -1);
  const auto text = [&](std::vector<int32_t> ids) { return response_text(ids, **tokenizer); };
  CHECK(text({2, 3, 1}) == "27");
  CHECK(text({2, 3}) == "27");
  CHECK(text({2, 0, 3, 1}) == "2<pad>7");
  CHECK(text({2, 3, 0, 1}) == "27<pad>");
  CHECK(text({}).empty());
}

}  // namespace
}  // namespace tracewise
