// Says whether a response is right. A verifier that cannot tell reports a failure, never reward 0.
#pragma once

#include <algorithm>
#include <chrono>
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

// Of calls that wait for somebody else.
struct CallLimits {
  uint32_t calls = 0;                    // that run side by side; 0: none waits, all just compute
  std::chrono::milliseconds longest{0};  // a call's time

  bool wait() const { return calls > 0; }
  CallLimits with(const CallLimits& other) const {
    return {std::max(calls, other.calls), std::max(longest, other.longest)};
  }
};

// Any thread may use it.
class Verifier {
 public:
  virtual ~Verifier() = default;
  virtual Verdict verify(const Prompt& prompt, std::string_view response,
                         FinishReason finish) const = 0;
  // kBadInput if no response to the prompt could be verified: it has no gold answer, or one that is
  // not what this verifier compares with.
  virtual Result<void> check(const Prompt& prompt) const = 0;
  virtual CallLimits limits() const { return {}; }
  // Ends the calls that wait, and every later one, with a failure.
  virtual void abort() {}
};

enum class VerifierKind : uint8_t {
  kExact,    // the answer's text equals the gold text, blanks at both ends aside
  kNumeric,  // the answer's number equals the gold number within the tolerance
  kMath,     // the answer has the gold answer's value (rollout/math/compare.hpp)
  kGsm8k,    // as kNumeric; gold and answer are what follows the last "####"
  kChoice,   // the answer chooses the gold letter (rollout/rewards/choice.hpp)
  kFormat,   // the response matches a pattern; the gold answer doesn't count
  kPython,   // a function of the user's says (rollout/rewards/python_verifier.hpp)
  kHttp,     // an endpoint says (rollout/rewards/http_verifier.hpp)
};

struct VerifierKindName {
  const char* name;  // in the config and in rows
  VerifierKind kind;
};
std::span<const VerifierKindName> verifier_kinds();

struct VerifierOptions {
  VerifierKind kind = VerifierKind::kExact;
  // The answer is what follows the prefix's last occurrence, up to the suffix; see answer_in(). A
  // response without the prefix gets 0. Empty: the whole response for kExact, its last number for
  // kNumeric (and for kGsm8k without "####"), what rollout/math/final_answer.hpp finds for kMath,
  // the letter that choice_in() finds for kChoice. kNumeric takes the first number of the answer.
  // The last three kinds have none.
  std::string answer_prefix = {};
  std::string answer_suffix = {};
  bool require_stop = true;  // a response that did not end by itself gets 0
  double tolerance = 1e-6;   // kNumeric, kGsm8k: |a - gold| <= tolerance * max(1, |gold|)
  std::string pattern = {};  // for kFormat, PCRE2; it matches somewhere in the response
  // kPython and kHttp.
  std::string file = {};            // that has the function
  std::string function = "reward";  // its name
  std::string interpreter = {};     // Python's; see PythonOptions
  int64_t memory_mb = 4096;         // MiB of address space each Python process may have; 0: all
  std::string url = {};             // of the endpoint
  int64_t attempts = 3;             // at the endpoint, >= 1
  int64_t timeout_ms = 10'000;      // of a call, >= 1
  int64_t calls = 2;                // that run side by side, >= 1
};

// kBadInput for options that no response could be verified with: a pattern or a URL that is none, a
// file that is missing. Starts nothing.
Result<void> check_verifier_options(const VerifierOptions& options);

// A verifier of the kind that `options` say, which have passed check_verifier_options(). A prompt
// that names its own kind is verified by that one, with the same options: any but kFormat, kPython
// and kHttp, unless `options` have what those need. kPython starts a process and loads the file:
// kBadInput where that fails.
Result<std::unique_ptr<Verifier>> make_verifier(const VerifierOptions& options);

// The text a verifier sees: all tokens but the end token. Special tokens inside keep their names,
// so that they cannot hide in an answer.
std::string response_text(std::span<const int32_t> tokens, const Tokenizer& tokenizer);

}  // namespace tracewise
