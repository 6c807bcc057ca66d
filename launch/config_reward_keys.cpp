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

const std::vector<Choice<VerifierKind>>& kind_choices() {
  static const std::vector<Choice<VerifierKind>> choices = [] {
    std::vector<Choice<VerifierKind>> all;
    for (const auto& [name, kind] : verifier_kinds()) all.push_back({name, kind});
    return all;
  }();
  return choices;
}

// "overlong", "repetition" or a verifier's kind.
TermKey term_kind_key() {
  std::vector<std::string> names = {"overlong", "repetition"};
  for (const auto& choice : kind_choices()) names.emplace_back(choice.name);
  TermKey key = choice_key<RewardTerm>("kind", OF(verifier.kind), kind_choices(), "");
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
    k.push_back(text_key<RewardTerm>("file", OF(verifier.file), "As verifier.file."));
    k.push_back(text_key<RewardTerm>("function", OF(verifier.function), "As verifier.function."));
    k.push_back(
        text_key<RewardTerm>("interpreter", OF(verifier.interpreter), "As verifier.interpreter."));
    k.push_back(integer_key<RewardTerm>("memory_mb", OF(verifier.memory_mb), at_least(0),
                                        "As verifier.memory_mb."));
    k.push_back(text_key<RewardTerm>("url", OF(verifier.url), "As verifier.url."));
    k.push_back(integer_key<RewardTerm>("attempts", OF(verifier.attempts), between(1, 100),
                                        "As verifier.attempts."));
    k.push_back(integer_key<RewardTerm>("timeout_ms", OF(verifier.timeout_ms),
                                        between(1, 86'400'000), "As verifier.timeout_ms."));
    k.push_back(integer_key<RewardTerm>("calls", OF(verifier.calls), between(1, 1024),
                                        "As verifier.calls."));
    return k;
  }();
  return keys;
}

}  // namespace

void add_reward_keys(std::vector<Key>& k) {
  k.push_back(choice_key(
      "verifier.kind", AT(verifier.kind), kind_choices(),
      "exact: the answer's text equals the gold answer's; numeric: its number does; math: its "
      "mathematical value does; gsm8k: the number after #### does; choice: the letter does; "
      "format: the response matches verifier.pattern, whatever the gold answer; python: a function "
      "of verifier.file says; http: verifier.url does. docs/rewards.md."));
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
  k.push_back(text_key("verifier.file", AT(verifier.file),
                       "Of python: a file that each tracer's node can read."));
  k.push_back(text_key("verifier.function", AT(verifier.function),
                       "Of python: the function's name. It is called with those of response, "
                       "answer, prompt, metadata, id and finish that it asks for by name, and "
                       "returns a number from 0 to 1."));
  k.push_back(text_key("verifier.interpreter", AT(verifier.interpreter),
                       "Of python: a path, or a name in PATH; empty: $TRACEWISE_PYTHON, which "
                       "./tracewise sets to its own environment, else python3."));
  k.push_back(integer_key("verifier.memory_mb", AT(verifier.memory_mb), at_least(0),
                          "Of python: MiB of address space that each process may have; 0: no "
                          "limit. A function that wants more fails, and its process starts anew."));
  k.push_back(text_key("verifier.url", AT(verifier.url),
                       "Of http: where responses are posted as JSON; http alone."));
  k.push_back(integer_key("verifier.attempts", AT(verifier.attempts), between(1, 100),
                          "Of http: at an endpoint that refuses, breaks off or is overloaded."));
  k.push_back(integer_key("verifier.timeout_ms", AT(verifier.timeout_ms), between(1, 86'400'000),
                          "Of python and http: a call's (http: an attempt's) time; one that takes "
                          "longer is killed and fails its sample."));
  k.push_back(integer_key("verifier.calls", AT(verifier.calls), between(1, 1024),
                          "Of python and http: calls that each tracer runs side by side."));
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
