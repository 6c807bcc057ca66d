#include "rollout/rewards/shaping.hpp"

#include <algorithm>
#include <cmath>
#include <set>

namespace tracewise {

double soft_overlong_penalty(int64_t tokens, int64_t max_tokens, int64_t cache_tokens) {
  const int64_t free = max_tokens - cache_tokens;
  if (tokens <= free) return 0;
  if (tokens > max_tokens) return -1;
  return static_cast<double>(free - tokens) / static_cast<double>(cache_tokens);
}

double repetition_penalty(std::span<const int32_t> tokens, int64_t ngram) {
  const auto n = static_cast<size_t>(ngram);
  if (tokens.size() < n) return 0;
  const auto less = [](std::span<const int32_t> a, std::span<const int32_t> b) {
    return std::ranges::lexicographical_compare(a, b);
  };
  std::set<std::span<const int32_t>, decltype(less)> distinct(less);
  const size_t count = tokens.size() - n + 1;
  for (size_t i = 0; i < count; ++i) distinct.insert(tokens.subspan(i, n));
  return static_cast<double>(distinct.size()) / static_cast<double>(count) - 1;
}

Result<void> check_reward_term(const RewardTerm& term) {
  if (!std::isfinite(term.weight)) return bad_input("its weight is not finite");
  if (term.kind == RewardTermKind::kNone) return bad_input("a term needs its kind");
  if (term.kind == RewardTermKind::kVerifier) return check_verifier_options(term.verifier);
  if (term.kind == RewardTermKind::kRepetition) {
    if (term.ngram < 1) return bad_input("kind repetition needs an ngram of at least 1");
    return {};
  }
  if (term.max_tokens < 1 || term.cache_tokens < 1 || term.cache_tokens > term.max_tokens) {
    return bad_input("kind overlong needs max_tokens, and cache_tokens from 1 to it");
  }
  return {};
}

Result<Shaping> Shaping::make(std::vector<RewardTerm> terms) {
  Shaping shaping;
  for (const RewardTerm& term : terms) {
    std::unique_ptr<Verifier> verifier;
    if (term.kind == RewardTermKind::kVerifier) {
      TW_ASSIGN(verifier, make_verifier(term.verifier));
    }
    shaping.verifiers_.push_back(std::move(verifier));
  }
  shaping.terms_ = std::move(terms);
  return shaping;
}

CallLimits Shaping::limits() const {
  CallLimits all;
  for (const auto& verifier : verifiers_) {
    if (!verifier) continue;
    const CallLimits own = verifier->limits();
    all = {std::max(all.calls, own.calls), all.longest + own.longest};
  }
  return all;
}

void Shaping::abort() {
  for (const auto& verifier : verifiers_)
    if (verifier) verifier->abort();
}

Result<void> Shaping::check(const Prompt& prompt) const {
  for (const auto& verifier : verifiers_)
    if (verifier) TW_TRY(verifier->check(prompt));
  return {};
}

Shaped Shaping::of(const Prompt& prompt, std::span<const int32_t> tokens, std::string_view text,
                   FinishReason finish) const {
  double sum = 0;
  for (size_t i = 0; i < terms_.size(); ++i) {
    const RewardTerm& term = terms_[i];
    double value = 0;
    if (term.kind == RewardTermKind::kOverlong) {
      value = soft_overlong_penalty(static_cast<int64_t>(tokens.size()), term.max_tokens,
                                    term.cache_tokens);
    } else if (term.kind == RewardTermKind::kRepetition) {
      value = repetition_penalty(tokens, term.ngram);
    } else {
      Verdict verdict = verifiers_[i]->verify(prompt, text, finish);
      if (verdict.failure.failed()) return {0, std::move(verdict.failure)};
      value = static_cast<double>(verdict.reward);
    }
    sum += term.weight * value;
  }
  return {static_cast<float>(sum), {}};
}

}  // namespace tracewise
