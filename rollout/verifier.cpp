#include "rollout/verifier.hpp"

#include <algorithm>
#include <cmath>

#include "model/tokenizer.hpp"
#include "rollout/answer_text.hpp"
#include "rollout/math/compare.hpp"
#include "rollout/math/final_answer.hpp"
#include "rollout/rewards/choice.hpp"
#include "rollout/rewards/pattern.hpp"

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

class NumericVerifier : public AnswerVerifier {
 public:
  using AnswerVerifier::AnswerVerifier;

 protected:
  Result<void> check(const Prompt& prompt) const override {
    TW_TRY(AnswerVerifier::check(prompt));
    if (whole_number_text(prompt.gold)) return {};
    return bad_input("prompt \"" + prompt.id + "\" has the gold answer \"" + prompt.gold +
                     "\", no number");
  }
  bool equals(const std::string& text, std::string_view answer) const override {
    const auto place = options_.answer_prefix.empty() ? NumberPlace::kLast : NumberPlace::kFirst;
    const auto number = number_in(answer, place);
    return number && is_close(*number, *whole_number_text(text));
  }
  bool is_close(double number, double gold) const {
    return std::abs(number - gold) <= options_.tolerance * std::max(1.0, std::abs(gold));
  }
};

// Gold answers of GSM8K end with "#### 1,234"; so may responses.
class Gsm8kVerifier final : public NumericVerifier {
  using NumericVerifier::NumericVerifier;
  Result<void> check(const Prompt& prompt) const override {
    return NumericVerifier::check({prompt.id, {}, std::string(after_marks(prompt.gold)), {}});
  }
  bool right(const std::string& gold, std::string_view response) const override {
    const std::string number(after_marks(gold));
    if (!options_.answer_prefix.empty()) return NumericVerifier::right(number, response);
    const bool marked = response.find(kMarks) != std::string_view::npos;
    const auto found =
        number_in(after_marks(response), marked ? NumberPlace::kFirst : NumberPlace::kLast);
    return found && is_close(*found, *whole_number_text(number));
  }

  static constexpr std::string_view kMarks = "####";
  static std::string_view after_marks(std::string_view text) {
    const size_t at = text.rfind(kMarks);
    return trimmed(at == std::string_view::npos ? text : text.substr(at + kMarks.size()));
  }
};

class ChoiceVerifier final : public AnswerVerifier {
  using AnswerVerifier::AnswerVerifier;
  Result<void> check(const Prompt& prompt) const override {
    TW_TRY(AnswerVerifier::check(prompt));
    if (choice_of(prompt.gold)) return {};
    return bad_input("prompt \"" + prompt.id + "\" has the gold answer \"" + prompt.gold +
                     "\", no letter of a choice");
  }
  bool right(const std::string& gold, std::string_view response) const override {
    if (!options_.answer_prefix.empty()) return AnswerVerifier::right(gold, response);
    return choice_in(response) == choice_of(gold);
  }
  bool equals(const std::string& gold, std::string_view answer) const override {
    return choice_of(answer) == choice_of(gold);
  }
};

class FormatVerifier final : public Verifier {
 public:
  FormatVerifier(Pattern pattern, bool require_stop)
      : pattern_(std::move(pattern)), require_stop_(require_stop) {}

  Verdict verify(const Prompt&, std::string_view response, FinishReason finish) const override {
    if (require_stop_ && finish != FinishReason::kStop) return {};
    const auto matches = pattern_.matches(response);
    if (!matches.ok()) return {0, {FailureClass::kVerifierError, matches.error().message}};
    return {*matches ? 1.0f : 0.0f, {}};
  }
  Result<void> check(const Prompt&) const override { return {}; }

 private:
  Pattern pattern_;
  bool require_stop_;
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

Result<void> check_verifier_options(const VerifierOptions& options) {
  if (options.kind != VerifierKind::kFormat) return {};
  if (options.pattern.empty()) return bad_input("kind format needs a pattern");
  TW_TRY(Pattern::make(options.pattern));
  return {};
}

std::unique_ptr<Verifier> make_verifier(const VerifierOptions& options) {
  switch (options.kind) {
    case VerifierKind::kExact:
      return std::make_unique<ExactVerifier>(options);
    case VerifierKind::kNumeric:
      return std::make_unique<NumericVerifier>(options);
    case VerifierKind::kMath:
      return std::make_unique<MathVerifier>(options);
    case VerifierKind::kGsm8k:
      return std::make_unique<Gsm8kVerifier>(options);
    case VerifierKind::kChoice:
      return std::make_unique<ChoiceVerifier>(options);
    case VerifierKind::kFormat:
      break;
  }
  return std::make_unique<FormatVerifier>(*Pattern::make(options.pattern), options.require_stop);
}

std::string response_text(std::span<const int32_t> tokens, const Tokenizer& tokenizer) {
  if (!tokens.empty() && tokenizer.is_special(tokens.back())) {
    tokens = tokens.first(tokens.size() - 1);
  }
  return tokenizer.decode(tokens, false);
}

}  // namespace tracewise
