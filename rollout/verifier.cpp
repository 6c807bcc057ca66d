#include "rollout/verifier.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>

#include "model/tokenizer.hpp"
#include "rollout/answer_text.hpp"
#include "rollout/http/http_post.hpp"
#include "rollout/math/compare.hpp"
#include "rollout/math/final_answer.hpp"
#include "rollout/rewards/choice.hpp"
#include "rollout/rewards/http_verifier.hpp"
#include "rollout/rewards/pattern.hpp"
#include "rollout/rewards/python_verifier.hpp"

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

Result<std::unique_ptr<Verifier>> make_one(VerifierKind kind, const VerifierOptions& options) {
  switch (kind) {
    case VerifierKind::kExact:
      return std::unique_ptr<Verifier>(new ExactVerifier(options));
    case VerifierKind::kNumeric:
      return std::unique_ptr<Verifier>(new NumericVerifier(options));
    case VerifierKind::kMath:
      return std::unique_ptr<Verifier>(new MathVerifier(options));
    case VerifierKind::kGsm8k:
      return std::unique_ptr<Verifier>(new Gsm8kVerifier(options));
    case VerifierKind::kChoice:
      return std::unique_ptr<Verifier>(new ChoiceVerifier(options));
    case VerifierKind::kPython:
      return make_python_verifier(options);
    case VerifierKind::kHttp:
      return make_http_verifier(options);
    case VerifierKind::kFormat:
      break;
  }
  TW_ASSIGN(Pattern pattern, Pattern::make(options.pattern));
  return std::unique_ptr<Verifier>(new FormatVerifier(std::move(pattern), options.require_stop));
}

bool has_needs_of(VerifierKind kind, const VerifierOptions& options) {
  if (kind == VerifierKind::kFormat) return !options.pattern.empty();
  if (kind == VerifierKind::kPython) return !options.file.empty();
  if (kind == VerifierKind::kHttp) return !options.url.empty();
  return true;
}

// Hands each prompt to the verifier that its row names.
class RowVerifier final : public Verifier {
 public:
  static Result<std::unique_ptr<Verifier>> make(const VerifierOptions& options) {
    auto rows = std::make_unique<RowVerifier>();
    for (const auto& [name, kind] : verifier_kinds()) {
      if (kind != options.kind && !has_needs_of(kind, options)) continue;
      TW_ASSIGN(rows->verifiers_[name], make_one(kind, options));
      if (kind == options.kind) rows->default_ = rows->verifiers_[name].get();
    }
    return std::unique_ptr<Verifier>(std::move(rows));
  }

  Verdict verify(const Prompt& prompt, std::string_view response,
                 FinishReason finish) const override {
    const Verifier* verifier = of(prompt);
    if (verifier == nullptr) return {0, {FailureClass::kVerifierError, unknown(prompt)}};
    return verifier->verify(prompt, response, finish);
  }
  Result<void> check(const Prompt& prompt) const override {
    const Verifier* verifier = of(prompt);
    return verifier == nullptr ? bad_input(unknown(prompt)) : verifier->check(prompt);
  }
  CallLimits limits() const override {
    CallLimits all;
    for (const auto& [name, verifier] : verifiers_) all = all.with(verifier->limits());
    return all;
  }
  void abort() override {
    for (const auto& [name, verifier] : verifiers_) verifier->abort();
  }

 private:
  const Verifier* of(const Prompt& prompt) const {
    if (prompt.verifier.empty()) return default_;
    const auto found = verifiers_.find(prompt.verifier);
    return found == verifiers_.end() ? nullptr : found->second.get();
  }
  std::string unknown(const Prompt& prompt) const {
    std::string names;
    for (const auto& [name, verifier] : verifiers_) names += (names.empty() ? "" : ", ") + name;
    return "prompt \"" + prompt.id + "\" wants the verifier \"" + prompt.verifier +
           "\"; this run has " + names;
  }

  std::map<std::string, std::unique_ptr<Verifier>, std::less<>> verifiers_;  // by kind
  const Verifier* default_ = nullptr;
};

}  // namespace

std::span<const VerifierKindName> verifier_kinds() {
  static constexpr VerifierKindName kKinds[] = {
      {"exact", VerifierKind::kExact},   {"numeric", VerifierKind::kNumeric},
      {"math", VerifierKind::kMath},     {"gsm8k", VerifierKind::kGsm8k},
      {"choice", VerifierKind::kChoice}, {"format", VerifierKind::kFormat},
      {"python", VerifierKind::kPython}, {"http", VerifierKind::kHttp}};
  return kKinds;
}

Result<void> check_verifier_options(const VerifierOptions& options) {
  if (options.kind == VerifierKind::kFormat) {
    if (options.pattern.empty()) return bad_input("kind format needs a pattern");
    TW_TRY(Pattern::make(options.pattern));
  } else if (options.kind == VerifierKind::kPython) {
    if (options.file.empty()) return bad_input("kind python needs a file");
    std::error_code error;
    if (!std::filesystem::is_regular_file(options.file, error))
      return bad_input("kind python: there is no file " + options.file);
  } else if (options.kind == VerifierKind::kHttp) {
    if (options.url.empty()) return bad_input("kind http needs a url");
    TW_TRY(parse_http_url(options.url));
  }
  return {};
}

Result<std::unique_ptr<Verifier>> make_verifier(const VerifierOptions& options) {
  return RowVerifier::make(options);
}

std::string response_text(std::span<const int32_t> tokens, const Tokenizer& tokenizer) {
  if (!tokens.empty() && tokenizer.is_special(tokens.back())) {
    tokens = tokens.first(tokens.size() - 1);
  }
  return tokenizer.decode(tokens, false);
}

}  // namespace tracewise
