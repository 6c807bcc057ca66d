#include "rollout/verifier.hpp"

#include <algorithm>
#include <cmath>

#include "model/tokenizer.hpp"
#include "rollout/answer_text.hpp"

namespace tracewise {
namespace {

Verdict failed(const Prompt& prompt, const std::string& what) {
  return {0, {FailureClass::kVerifierError, "prompt \"" + prompt.id + "\" " + what}};
}

class AnswerVerifier : public Verifier {
 public:
  explicit AnswerVerifier(const VerifierOptions& options) : options_(options) {}

  Verdict verify(const Prompt& prompt, std::string_view response, FinishReason finish) const final {
    if (trimmed(prompt.gold).empty()) return failed(prompt, "has no gold answer");
    if (options_.require_stop && finish != FinishReason::kStop) return {};
    const auto answer = answer_in(response, options_.answer_prefix, options_.answer_suffix);
    return compare(prompt, answer);
  }

 protected:
  // `answer` is nullopt where the response has none; the gold answer is checked all the same.
  virtual Verdict compare(const Prompt& prompt, std::optional<std::string_view> answer) const = 0;

  VerifierOptions options_;
};

class ExactVerifier final : public AnswerVerifier {
  using AnswerVerifier::AnswerVerifier;
  Verdict compare(const Prompt& prompt, std::optional<std::string_view> answer) const override {
    return {answer && *answer == trimmed(prompt.gold) ? 1.0f : 0.0f, {}};
  }
};

class NumericVerifier final : public AnswerVerifier {
  using AnswerVerifier::AnswerVerifier;
  Verdict compare(const Prompt& prompt, std::optional<std::string_view> answer) const override {
    const auto gold = whole_number_text(prompt.gold);
    if (!gold) return failed(prompt, "has the gold answer \"" + prompt.gold + "\", no number");
    if (!answer) return {};
    const auto place = options_.answer_prefix.empty() ? NumberPlace::kLast : NumberPlace::kFirst;
    const auto number = number_in(*answer, place);
    const double allowed = options_.tolerance * std::max(1.0, std::abs(*gold));
    return {number && std::abs(*number - *gold) <= allowed ? 1.0f : 0.0f, {}};
  }
};

}  // namespace

std::unique_ptr<Verifier> make_verifier(const VerifierOptions& options) {
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
