// The texts of a model's tokens by id, as the file spells them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "messages/result.hpp"
#include "model/tokenizer/fields.hpp"
#include "model/tokenizer/flat_table.hpp"

namespace tracewise::tok {

// Immutable once read; any thread may use it.
class Vocabulary {
 public:
  // {"text": id, ..} in field "vocab"; ids may have holes. kBadInput for an id that two texts
  // share.
  static Result<Vocabulary> read_map(const Fields& model);
  // [["text", score], ..] in field "vocab", ids in its order; `scores` gets theirs.
  static Result<Vocabulary> read_list(const Fields& model, std::vector<double>& scores);

  size_t count() const { return count_; }                              // of tokens
  int32_t end() const { return static_cast<int32_t>(texts_.size()); }  // the largest id and one
  // Empty for a hole; no token is.
  const std::string& text(int32_t id) const { return texts_[id]; }
  int32_t find(std::string_view text) const { return ids_.find(text); }

 private:
  std::vector<std::string> texts_;  // [end]
  TextTable ids_;
  size_t count_ = 0;
};

// The byte of a token that is called <0x00> to <0xFF>; -1: it is not.
int byte_of_token(std::string_view text);

}  // namespace tracewise::tok
