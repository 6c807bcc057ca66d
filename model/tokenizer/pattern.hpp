// Regular expressions and plain strings to search for, as the `Regex` and `String` patterns of a
// tokenizer.json mean them.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "messages/result.hpp"

namespace tracewise::tok {

// A part of a text, in bytes.
struct Match {
  size_t begin = 0;
  size_t end = 0;
  bool matches = false;  // false: what lies between two matches
};

// Immutable; any thread may use it.
class Pattern {
 public:
  // `regex` in Oniguruma's Ruby syntax. kUnsupported names what PCRE2 would read in another way.
  static Result<Pattern> regex(const std::string& regex);
  static Pattern literal(std::string text);
  // \w+|[^\w\s]+ as Rust's regex reads it, whose \w is not Oniguruma's.
  static Result<Pattern> words();
  // Extended grapheme clusters.
  static Result<Pattern> grapheme();

  // Cuts all of `text` (UTF-8) into matches and what lies between them, in order, into `cuts`.
  // A match may be empty. kResource if the regular expression takes too many steps.
  Result<void> cut(std::string_view text, std::vector<Match>& cuts) const;

 private:
  struct Code;
  std::shared_ptr<const Code> code_;  // null for a literal; copies of a pattern share it
  std::string literal_;

  static Result<Pattern> compile(const std::string& syntax, const std::string& shown);
  Result<bool> find(std::string_view text, size_t from, Match& found) const;
};

// `regex` in PCRE2's syntax, with the same matches. Exposed for its test.
Result<std::string> pcre2_syntax(const std::string& regex);
// The inside of a class of PCRE2 that is Rust's \w.
std::string rust_word_class();

}  // namespace tracewise::tok
