// SentencePiece's precompiled table of replacements, which the `Precompiled` normaliser holds.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "messages/result.hpp"
#include "model/tokenizer/pattern.hpp"

namespace tracewise::tok {

// Immutable; any thread may use it.
class Charsmap {
 public:
  // `base64`: a 32-bit size, a double-array trie (Darts) of that many bytes, and replacements that
  // end with 0. kBadInput for anything else.
  static Result<Charsmap> read(const std::string& base64);

  // Replaces what the table lists: whole grapheme clusters of up to five bytes, else characters.
  Result<void> apply(std::string& text) const;

 private:
  explicit Charsmap(Pattern graphemes) : graphemes_(std::move(graphemes)) {}

  // What stands for `part`; null if nothing does.
  const char* replacement(std::string_view part) const;

  Pattern graphemes_;
  std::vector<uint32_t> units_;
  std::string replacements_;  // each ends with 0
};

}  // namespace tracewise::tok
