// The rows of `verifier` and `reward`: what a response is worth. See launch/config_keys.cpp.
#include <string>
#include <utility>
#include <vector>

#include "launch/config_key.hpp"

namespace tracewise {
namespace {

using TermKey = KeyOf<RewardTerm>;

#define AT(path) \
  [](Config & c) -> auto& { return c.path; }
#define OF(path) \
  [](RewardTerm & t) -> auto& { return t.path; }

const std::vector<Choice<VerifierKind>>& verifier_kinds() {
  static const std::vector<Choice<VerifierKind>> kinds = {
      {"exact", VerifierKind::kExact},   {"numeric", VerifierKind::kNumeric},
      {"math", VerifierKind::kMath},     {"gsm8k", VerifierKind::kGsm8k},
      {"choice", VerifierKind::kChoice}, {"format", VerifierKind::kFormat}};
  return kinds;
}

// "overlong", "repetition" or a verifier's kind.
TermKey term_kind_key() {
  std::vector<std::string> names = {"overlong", "repetition"};
  for (const auto& choice : verifier_kinds()) names.emplace_back(choice.name);
  TermKey key = choice_key<RewardTerm>("kind", OF(verifier.kind), verifier_kinds(), "");
  key.allowed = choices_text(names);
  key.get = [get = key.get](const RewardTerm& term) -> Value {
    if (term.kind == RewardTermKind::kOverlong) return std::string("overlong");
    if (term.kind == RewardTermKind::kRepetition) return std::string("repetition");
    return term.kind == RewardTermKind::kNone ? Value(std::string()) : get(term);
  };
  key.set = [set = key.set](RewardTerm& term, const Value& value) {
    const auto* name = std::get_if<std::string>(&value);
    if (name == nullptr) return false;
    term.kind = *name == "overlong"     ? RewardTermKind::kOverlong
                : *name == "repetition" ? RewardTermKind::kRepetition
                                        : RewardTermKind::kVerifier;
    return term.kind != RewardTermKind::kVerifier || set(term, value);
  };
  return key;
}

const std::vector<TermKey>& term_keys() {
  static const std::vector<TermKey> keys = [] {
    std::vector<TermKey> k;
    k.push_back(term_kind_key());
    k.push_back(real_key<RewardTerm>("weight", OF(weight), {}, "Of the term in the sum."));
    k.push_back(integer_key<RewardTerm>("max_tokens", OF(max_tokens), at_least(1), "L_max."));
    k.push_back(integer_key<RewardTerm>("cache_tokens", OF(cache_tokens), at_least(1), "L_cache."));
    k.push_back(integer_key<RewardTerm>("ngram", OF(ngram), at_least(1), "Tokens."));
    k.push_back(text_key<RewardTerm>("pattern", OF(verifier.pattern), "As verifier.pattern."));
    k.push_back(text_key<RewardTerm>("answer_prefix", OF(verifier.answer_prefix),
                                     "As verifier.answer_prefix."));
    k.push_back(text_key<RewardTerm>("answer_suffix", OF(verifier.answer_suffix),
                                     "As verifier.answer_suffix."));
    k.push_back(flag_key<RewardTerm>("require_stop", OF(verifier.require_stop),
                                     "As verifier.require_stop."));
    return k;
  }();
  return keys;
}

}  // namespace

void add_reward_keys(std::vector<Key>& k) {
  k.push_back(choice_key(
      "verifier.kind", AT(verifier.kind), verifier_kinds(),
      "exact: the answer's text equals the gold answer's; numeric: its number does; math: its "
      "mathematical value does; gsm8k: the number after #### does; choice: the letter does; "
      "format: the response matches verifier.pattern, whatever the gold answer. docs/rewards.md."));
  k.push_back(text_key("verifier.answer_prefix", AT(verifier.answer_prefix),
                       "The answer follows the last occurrence of this text; empty: the whole "
                       "response, its last number, or of math and choice the last \\boxed{} or the "
                       "final answer."));
  k.push_back(text_key("verifier.answer_suffix", AT(verifier.answer_suffix),
                       "The answer ends before this text; empty: at the response's end."));
  k.push_back(flag_key("verifier.require_stop", AT(verifier.require_stop),
                       "A response that was cut off gets reward 0."));
  k.push_back(real_key("verifier.tolerance", AT(verifier.tolerance), at_least(0),
                       "Of numeric and gsm8k: |answer - gold| <= tolerance * max(1, |gold|)."));
  k.push_back(text_key("verifier.pattern", AT(verifier.pattern),
                       "Of format: a PCRE2 regular expression that matches somewhere in the "
                       "response; ^ and $ tie it to the ends, (?s) lets . match line ends."));
  k.push_back(tables_key(
      "reward.terms", AT(reward_terms), term_keys(),
      "What is added to the reward that advantage.base sees, [[reward.terms]], each by its weight: "
      "overlong (0 up to max_tokens - cache_tokens, linear to -1 at max_tokens), repetition (minus "
      "the share of repeated n-grams of ngram tokens), or a verifier's kind (its 0 or 1). Accuracy "
      "and values are the verifier's alone."));
}

#undef AT
#undef OF

}  // namespace tracewise
