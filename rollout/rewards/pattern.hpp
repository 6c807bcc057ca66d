// A regular expression of PCRE2.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "messages/result.hpp"

namespace tracewise {

// Immutable; any thread may use it.
class Pattern {
 public:
  // kBadInput with the place and PCRE2's reason for a text that is no pattern.
  static Result<Pattern> make(const std::string& text);

  // Whether it matches somewhere in the text (^ and $ tie it to the ends). Bytes that are no UTF-8
  // match nothing. kResource where a match would take too long to find: the work is bounded.
  Result<bool> matches(std::string_view text) const;

 private:
  struct Code;
  explicit Pattern(std::shared_ptr<const Code> code) : code_(std::move(code)) {}

  std::shared_ptr<const Code> code_;  // shared by copies
};

}  // namespace tracewise
