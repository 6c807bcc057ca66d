// The most likely segmentation by single tokens: the `Unigram` model of a tokenizer.json.
#pragma once

#include <array>
#include <string_view>
#include <vector>

#include "messages/result.hpp"
#include "model/tokenizer/fields.hpp"
#include "model/tokenizer/flat_table.hpp"
#include "model/tokenizer/vocabulary.hpp"

namespace tracewise::tok {

// Immutable; any thread may use it.
class Unigram {
 public:
  // `scores` [vocabulary]: log-probabilities. kBadInput and kUnsupported name the place.
  static Result<Unigram> read(const Fields& model, const Vocabulary& vocabulary,
                              std::vector<double> scores);

  // Appends the ids of `word` (UTF-8). Linear in its length. kBadInput if tokens do not spell it
  // and there is no unknown token.
  Result<void> encode(std::string_view word, std::vector<int32_t>& ids) const;

 private:
  // A place in the trie of all tokens.
  struct Node {
    int32_t child = -1;
  };

  int32_t step(int32_t node, char byte) const;
  void put_spelled(std::string_view part, std::vector<int32_t>& ids) const;

  const Vocabulary* vocabulary_ = nullptr;
  std::vector<double> scores_;
  double unknown_score_ = 0;
  int32_t unknown_ = -1;
  std::array<int32_t, 256> byte_tokens_{};  // id of <0x00> and so on; -1: none
  PairTable<Node> children_;                // (node, byte)
  std::vector<int32_t> token_at_;           // [nodes] id of the token that ends there; -1: none
};

}  // namespace tracewise::tok
