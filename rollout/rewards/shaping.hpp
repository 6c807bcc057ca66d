// What is added to a response's reward for training, beside whether it is right.
//
// The verifier's reward decides accuracy, values and right from wrong. The sum of these terms only
// moves the outcome's advantage.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "messages/records.hpp"
#include "messages/result.hpp"
#include "rollout/verifier.hpp"

namespace tracewise {

enum class RewardTermKind : uint8_t {
  kNone,        // not said yet
  kOverlong,    // soft_overlong_penalty()
  kRepetition,  // repetition_penalty()
  kVerifier,    // the reward of RewardTerm::verifier, in [0, 1]
};

struct RewardTerm {
  RewardTermKind kind = RewardTermKind::kNone;
  double weight = 1;              // finite; of the term in the sum
  int64_t max_tokens = 0;         // of overlong: L_max >= 1
  int64_t cache_tokens = 0;       // of overlong: L_cache, 1..L_max
  int64_t ngram = 3;              // of repetition, tokens, >= 1
  VerifierOptions verifier = {};  // of kVerifier
};

// kBadInput names the term's field that makes no sense.
Result<void> check_reward_term(const RewardTerm& term);

// In [-1, 0] (DAPO, arXiv 2503.14476, equation 13): 0 up to L_max - L_cache tokens, then linear to
// -1 at L_max, -1 beyond.
double soft_overlong_penalty(int64_t tokens, int64_t max_tokens, int64_t cache_tokens);

// In (-1, 0]: -(1 - distinct n-grams / n-grams) (after arXiv 2502.03373); 0 for a response with
// none.
double repetition_penalty(std::span<const int32_t> tokens, int64_t ngram);

struct Shaped {
  float sum = 0;    // weighted; meaningless with a failure
  Failure failure;  // a verifier's
};

// Any thread may use it.
class Shaping {
 public:
  // Every term has passed check_reward_term(). Errors of make_verifier().
  static Result<Shaping> make(std::vector<RewardTerm> terms);

  // kBadInput if a term's verifier could not verify any response to the prompt.
  Result<void> check(const Prompt& prompt) const;

  Shaped of(const Prompt& prompt, std::span<const int32_t> tokens, std::string_view text,
            FinishReason finish) const;

  // As those of Verifier, over all terms; longest is the sum of theirs.
  CallLimits limits() const;
  void abort();

 private:
  std::vector<RewardTerm> terms_;
  std::vector<std::unique_ptr<Verifier>> verifiers_;  // of each term; null where it has none
};

}  // namespace tracewise
