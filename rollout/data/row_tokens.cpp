#include "rollout/data/row_tokens.hpp"

#include "model/tokenizer.hpp"

namespace tracewise {

using json = RowJson;

Result<std::vector<int32_t>> encode_text(const Row& row, const std::string& column,
                                         const std::string& text, const Tokenizer& tokenizer,
                                         bool add_special) {
  auto ids = tokenizer.encode(text, add_special);
  if (!ids.ok()) return row.wrong("\"" + column + "\": " + ids.error().message);
  return ids;
}

Result<std::vector<int32_t>> read_ids(const Row& row, const std::string& column,
                                      const Tokenizer& tokenizer) {
  const json& list = row.object[column];
  if (!list.is_array()) return row.wrong("\"" + column + "\" is no list of token ids");
  std::vector<int32_t> ids;
  for (const json& id : list) {
    if (!id.is_number_unsigned() ||
        id.get<uint64_t>() >= static_cast<uint64_t>(tokenizer.vocab_size())) {
      return row.wrong("\"" + column + "\" holds " + id.dump() + ", but ids are from 0 to " +
                       std::to_string(tokenizer.vocab_size() - 1));
    }
    ids.push_back(id.get<int32_t>());
  }
  return ids;
}

Result<std::vector<int32_t>> read_tokens(const Row& row, const std::string& column,
                                         const std::string& ids_column, const Tokenizer& tokenizer,
                                         bool add_special) {
  if (row.has(ids_column)) {
    if (row.has(column)) {
      return row.wrong("the row has both \"" + column + "\" and \"" + ids_column + "\"");
    }
    return read_ids(row, ids_column, tokenizer);
  }
  TW_ASSIGN(const std::string text, row.text(column));
  return encode_text(row, column, text, tokenizer, add_special);
}

Error too_long(const Row& row, const char* what, size_t tokens, int64_t limit) {
  return row.wrong(std::string("the ") + what + " has " + std::to_string(tokens) +
                   " tokens, but the limit is " + std::to_string(limit));
}

}  // namespace tracewise
