// Says whether a response is right. A verifier that cannot tell reports a failure, never reward 0.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "messages/records.hpp"
#include "messages/result.hpp"

namespace tracewise {

class Tokenizer;

struct Verdict {
  float reward = 0;  // in [0, 1]; meaningless with a failure
  Failure failure;   // kVerifierError: the reward is unknown
};

// Immutable; any thread may use it.
class Verifier {
 public:
  virtual ~Verifier() = default;
  virtual Verdict verify(const Prompt& prompt, std::string_view response,
                         FinishReason finish) const = 0;
  // kBadInput if no response to the prompt could be verified: it has no gold answer, or one that is
  // not what this verifier compares with.
  virtual Result<void> check(const Prompt& prompt) const = 0;
};

enum class VerifierKind : uint8_t {
  kExact,    // the answer's text equals the gold text, blanks at both ends aside
  kNumeric,  // the answer's number equals the gold number within the tolerance
  kMath,     // the answer has the gold answer's value (rollout/math/compare.hpp)
  kGsm8k,    // as kNumeric; gold and answer are what follows the last "####"
  kChoice,   // the answer chooses the gold letter (rollout/rewards/choice.hpp)
  kFormat,   // the response matches a pattern; the gold answer doesn't count
};

struct VerifierOptions {
  VerifierKind kind = VerifierKind::kExact;
  // The answer is what follows the prefix's last occurrence, up to the suffix; see answer_in(). A
  // response without the prefix gets 0. Empty: the whole response for kExact, its last number for
  // kNumeric (and for kGsm8k without "####"), what rollout/math/final_answer.hpp finds for kMath,
  // the letter that choice_in() finds for kChoice. kNumeric takes the first number of the answer.
  // kFormat has none.
  std::string answer_prefix = {};
  std::string answer_suffix = {};
  bool require_stop = true;  // a response that did not end by itself gets 0
  double tolerance = 1e-6;   // kNumeric, kGsm8k: |a - gold| <= tolerance * max(1, |gold|)
  std::string pattern = {};  // for kFormat, PCRE2; it matches somewhere in the response
};

// kBadInput for options that no response could be verified with: a pattern that is none.
Result<void> check_verifier_options(const VerifierOptions& options);

// `options` have passed check_verifier_options().
std::unique_ptr<Verifier> make_verifier(const VerifierOptions& options);

// The text a verifier sees: all tokens but the end token. Special tokens inside keep their names,
// so that they cannot hide in an answer.
std::string response_text(std::span<const int32_t> tokens, const Tokenizer& tokenizer);

}  // namespace tracewise
