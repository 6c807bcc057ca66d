// Byte-pair encoding: the `BPE` model of a tokenizer.json.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "messages/result.hpp"
#include "model/tokenizer/fields.hpp"
#include "model/tokenizer/flat_table.hpp"
#include "model/tokenizer/vocabulary.hpp"

namespace tracewise::tok {

// Immutable; any thread may use it. Words are merged by rank without a cache: what words have in
// common is in the table of those that are one token.
class Bpe {
 public:
  // `byte_level`: the vocabulary spells bytes by the characters of GPT-2's table, and words come as
  // bytes; else they come as UTF-8. kBadInput and kUnsupported name the place.
  static Result<Bpe> read(const Fields& model, const Vocabulary& vocabulary, bool byte_level);

  // Appends the ids of `word`. Takes about linear time in its length (n log n at most).
  // kBadInput if neither vocabulary nor bytes nor an unknown token spell it.
  Result<void> encode(std::string_view word, std::vector<int32_t>& ids) const;

 private:
  static constexpr uint32_t kNoRank = UINT32_MAX;
  // What is known of two neighbouring tokens. Pairs without a rank that are in the table are
  // characters that some token holds side by side: between others, no merge ever reaches across.
  struct Merge {
    uint32_t rank = kNoRank;
    int32_t id = -1;  // of both as one
  };
  struct Word;  // a thread's buffers

  Result<void> read_merges(const Fields& model);
  void find_whole_words();
  Result<bool> read_symbols(std::string_view word, Word& symbols) const;
  void merge(Word& symbols, size_t begin, size_t end, std::vector<int32_t>& ids) const;
  void merge_short(Word& symbols, size_t begin, size_t end, std::vector<int32_t>& ids) const;
  void merge_long(Word& symbols, size_t begin, size_t end, std::vector<int32_t>& ids) const;
  Merge merge_of(int32_t left, int32_t right) const;
  int32_t character_id(char32_t c) const { return c < characters_.size() ? characters_[c] : -1; }

  const Vocabulary* vocabulary_ = nullptr;
  bool byte_level_ = false;
  bool ignore_merges_ = false;
  bool fuse_unknown_ = false;
  bool cuts_words_ = false;  // whether the pairs without rank are all in merges_
  int32_t unknown_ = -1;
  std::vector<int32_t> characters_;  // id by character, or by byte of byte-level words; -1: none
  std::array<int32_t, 256> byte_tokens_{};  // id of <0x00> and so on; -1: none
  TextTable whole_;                         // words that are one token
  PairTable<Merge> merges_;
};

}  // namespace tracewise::tok
