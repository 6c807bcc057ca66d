// The `added_tokens` of a tokenizer.json: found in the text before anything else is done to it.
#pragma once

#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "messages/result.hpp"
#include "model/tokenizer/fields.hpp"
#include "model/tokenizer/flat_table.hpp"
#include "model/tokenizer/normalizer.hpp"
#include "model/tokenizer/pre_tokenizer.hpp"
#include "model/tokenizer/vocabulary.hpp"

namespace tracewise::tok {

struct AddedToken {
  int32_t id = -1;
  std::string content;
  bool special = false;      // left out by decode(.., skip_special)
  bool normalized = false;   // looked for in normalised text, itself normalised
  bool left_strip = false;   // takes the white space before it along
  bool right_strip = false;  // and behind it
  bool single_word = false;  // not where a letter or digit touches it
};

// Finds the leftmost of several texts, and of those that begin there the longest.
class TextFinder {
 public:
  TextFinder() : starts_(256, false), token_at_(1, -1) {}
  void add(std::string_view text, int32_t index);  // the first of two same texts stays
  bool empty() const { return token_at_.size() == 1; }
  // The first match from `from` on; begin is npos if there is none.
  struct Found {
    size_t begin = std::string_view::npos;
    size_t end = 0;
    int32_t index = -1;
  };
  Found find(std::string_view text, size_t from) const;

 private:
  std::vector<bool> starts_;                         // [256] whether a text begins with the byte
  std::vector<std::pair<uint64_t, int32_t>> edges_;  // (node << 8 | byte, child), sorted
  std::vector<int32_t> token_at_;                    // [nodes]

  int32_t child(int32_t node, char byte) const;
};

// Immutable; any thread may use it.
class AddedTokens {
 public:
  // kBadInput if an id is not the one that the package gives: that of the vocabulary, else the
  // next.
  static Result<AddedTokens> read(const Fields& file, const Vocabulary& vocabulary,
                                  const Normalizer& normalizer);

  const std::vector<AddedToken>& tokens() const { return tokens_; }

  // Cuts `text` at added tokens and normalises what lies between. New text lives in `texts`.
  Result<void> split(std::string_view text, const Normalizer& normalizer,
                     std::vector<Piece>& pieces, std::deque<std::string>& texts) const;

 private:
  void cut(const TextFinder& finder, std::string_view text, bool at_start,
           std::vector<Piece>& pieces) const;

  std::vector<AddedToken> tokens_;
  TextFinder raw_;
  TextFinder normalized_;
};

}  // namespace tracewise::tok
