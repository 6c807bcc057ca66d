// Token ids of a row's columns.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "rollout/data/rows.hpp"

namespace tracewise {

class Tokenizer;

// Of a text that `column` holds or stands for. kBadInput where the vocabulary cannot spell it.
Result<std::vector<int32_t>> encode_text(const Row& row, const std::string& column,
                                         const std::string& text, const Tokenizer& tokenizer,
                                         bool add_special);

// Of a list of ids. kBadInput for what is none.
Result<std::vector<int32_t>> read_ids(const Row& row, const std::string& column,
                                      const Tokenizer& tokenizer);

// Of the text in `column`, or the ids in `ids_column`. kBadInput where the row has both or neither.
Result<std::vector<int32_t>> read_tokens(const Row& row, const std::string& column,
                                         const std::string& ids_column, const Tokenizer& tokenizer,
                                         bool add_special);

// "the `what` has n tokens, but the limit is m", with the row's place.
Error too_long(const Row& row, const char* what, size_t tokens, int64_t limit);

}  // namespace tracewise
