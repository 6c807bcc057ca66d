#include "rollout/verifier.hpp"

#include <algorithm>
#include <cmath>

#include "model/tokenizer.hpp"
#include "rollout/answer_text.hpp"
#include "rollout/math/compare.hpp"
#include "rollout/math/final_answer.hpp"

namespace tracewise {
namespace {

class AnswerVerifier : public Verifier {
 public:
  explicit AnswerVerifier(const VerifierOptions& options) : options_(options) {}

  Verdict verify(const Prompt& prompt, std::string_view response, FinishReason finish) const final {
    if (const auto good = check(prompt); !good.ok())
      return {0, {FailureClass::kVerifierError, good.error().message}};
    if (options_.require_stop && finish != FinishReason::kStop) return {};
    return {right(prompt.gold, response) ? 1.0f : 0.0f, {}};
  }

  Result<void> check(const Prompt& prompt) const override {
    if (trimmed(prompt.gold).empty())
      return bad_input("prompt \"" + prompt.id + "\" has no gold answer");
    return {};
  }

 protected:
  // `gold` has passed check().
  virtual bool right(const std::string& gold, std::string_view response) const {
    const auto answer = answer_in(response, options_.answer_prefix, options_.answer_suffix);
    return answer && equals(gold, *answer);
  }
  virtual bool equals(const std::string& gold, std::string_view answer) const = 0;

  VerifierOptions options_;
};

class ExactVerifier final : public AnswerVerifier {
  using AnswerVerifier::AnswerVerifier;
  bool equals(const std::string& gold, std::string_view answer) const override {
    return answer == trimmed(gold);
  }
};

class NumericVerifier final : public AnswerVerifier {
  using AnswerVerifier::AnswerVerifier;
  Result<void> check(const Prompt& prompt) const override {
    TW_TRY(AnswerVerifier::check(prompt));
    if (whole_number_text(prompt.gold)) return {};
    return bad_input("prompt \"" + prompt.id + "\" has the gold answer \"" + prompt.gold +
                     "\", no number");
  }
  bool equals(const std::string& text, std::string_view answer) const override {
    const double gold = *whole_number_text(text);
    const auto place = options_.answer_prefix.empty() ? NumberPlace::kLast : NumberPlace::kFirst;
    const auto number = number_in(answer, place);
    return number && std::abs(*number - gold) <= options_.tolerance * std::max(1.0, std::abs(gold));
  }
};

class MathVerifier final : public AnswerVerifier {
  using AnswerVerifier::AnswerVerifier;
  Result<void> check(const Prompt& prompt) const override {
    TW_TRY(AnswerVerifier::check(prompt));
    const auto gold = read_gold(prompt.gold);
    if (gold.ok()) return {};
    return bad_input("prompt \"" + prompt.id + "\" has the gold answer \"" + prompt.gold +
                     "\", which cannot be read: " + gold.error().message);
  }
  bool right(const std::string& gold, std::string_view response) const override {
    if (!options_.answer_prefix.empty()) return AnswerVerifier::right(gold, response);
    return equals(gold, math::final_answer(response));
  }
  bool equals(const std::string& text, std::string_view answer) const override {
    // A text that is no answer is a wrong one.
    const auto read = math::read_answer(answer);
    return read.ok() && math::equal(*read_gold(text), *read);
  }
  // A gold answer may stand in a box, in a worked solution too.
  static Result<math::Answer> read_gold(const std::string& gold) {
    const bool boxed =
        gold.find("\\boxed") != std::string::npos || gold.find("\\fbox") != std::string::npos;
    return math::read_answer(boxed ? math::final_answer(gold) : gold);
  }
};

}  // namespace

std::unique_ptr<Verifier> make_verifier(const VerifierOptions& options) {
  if (options.kind == VerifierKind::kMath) return std::make_unique<MathVerifier>(options);
  if (options.kind == VerifierKind::kNumeric) return std::make_unique<NumericVerifier>(options);
  return std::make_unique<ExactVerifier>(options);
}

std::string response_text(std::span<const int32_t> tokens, const Tokenizer& tokenizer) {
  if (!tokens.empty() && tokenizer.is_special(tokens.back())) {
    tokens = tokens.first(tokens.size() - 1);
  }
  return tokenizer.decode(tokens, false);
}

}  // namespace tracewise
