#include "rollout/dataset.hpp"

#include <functional>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "model/file_io.hpp"
#include "model/tokenizer.hpp"

namespace tracewise {
namespace {

using nlohmann::json;

constexpr uint64_t kMaxFileBytes = uint64_t{8} << 30;

std::string trimmed(const std::string& text) {
  constexpr const char* kBlanks = " \t\r\n";
  const size_t begin = text.find_first_not_of(kBlanks);
  if (begin == std::string::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlanks) - begin + 1);
}

// One line of a file, for reading and for error messages.
struct Row {
  json object;
  size_t line = 0;  // from 1
  const std::string& file;

  Error wrong(const std::string& what) const {
    return bad_input(file + ":" + std::to_string(line) + ": " + what);
  }
  bool has(const std::string& column) const {
    return object.contains(column) && !object[column].is_null();
  }
  // "it has "question" and "answer"", for a column that is missing.
  std::string columns() const {
    std::string names;
    for (const auto& [name, value] : object.items()) {
      names += (names.empty() ? "\"" : ", \"") + name + "\"";
    }
    return names.empty() ? "the row is empty" : "the row has " + names;
  }
};

// Calls `use` for every line that is not blank, until one fails.
Result<void> for_each_row(const std::filesystem::path& path,
                          const std::function<Result<void>(const Row&)>& use) {
  TW_ASSIGN(const std::string text, read_file(path, kMaxFileBytes));
  const std::string file = path.string();
  size_t rows = 0;
  size_t line = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view content(text.data() + begin, end - begin);
    begin = end + 1;
    ++line;
    if (content.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    const Row row{json::parse(content, nullptr, false), line, file};
    if (!row.object.is_object()) return row.wrong("not a JSON object");
    TW_TRY(use(row));
    ++rows;
  }
  if (rows == 0) return bad_input(file + ": the file has no rows");
  return {};
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

Result<std::vector<int32_t>> encode(const Row& row, const std::string& what,
                                    const std::string& text, const Tokenizer& tokenizer,
                                    bool add_special) {
  auto ids = tokenizer.encode(text, add_special);
  if (!ids.ok()) return row.wrong("\"" + what + "\": " + ids.error().message);
  return ids;
}

// Tokens of a text column, or of `ids_column` where the row has that.
Result<std::vector<int32_t>> read_tokens(const Row& row, const std::string& column,
                                         const std::string& ids_column, const Tokenizer& tokenizer,
                                         bool add_special) {
  if (row.has(ids_column)) {
    if (row.has(column)) {
      return row.wrong("the row has both \"" + column + "\" and \"" + ids_column + "\"");
    }
    return read_ids(row, ids_column, tokenizer);
  }
  if (!row.has(column)) {
    return row.wrong("\"" + column + "\" is missing; " + row.columns());
  }
  if (!row.object[column].is_string()) return row.wrong("\"" + column + "\" is no text");
  return encode(row, column, row.object[column].get<std::string>(), tokenizer, add_special);
}

Result<std::string> read_answer(const Row& row, const DatasetOptions& options) {
  const std::string& column = options.answer_column;
  if (!row.has(column)) {
    if (!options.require_answer) return std::string();
    return row.wrong("\"" + column + "\" is missing; " + row.columns());
  }
  const json& value = row.object[column];
  if (!value.is_string() && !value.is_number()) {
    return row.wrong("\"" + column + "\" is " + value.dump() + ", but must be text or a number");
  }
  std::string text = value.is_string() ? value.get<std::string>() : value.dump();
  if (!options.answer_prefix.empty()) {
    const size_t at = text.rfind(options.answer_prefix);
    if (at == std::string::npos) {
      return row.wrong("\"" + column + "\" has no \"" + options.answer_prefix + "\"");
    }
    text.erase(0, at + options.answer_prefix.size());
  }
  text = trimmed(text);
  if (text.empty() && options.require_answer) return row.wrong("\"" + column + "\" is empty");
  return text;
}

Result<std::string> read_id(const Row& row, const std::string& column) {
  if (!row.has(column)) return std::to_string(row.line);
  const json& value = row.object[column];
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number_integer()) return value.dump();
  return row.wrong("\"" + column + "\" is " + value.dump() +
                   ", but must be text or a whole number");
}

Error too_long(const Row& row, const char* what, size_t tokens, int64_t limit) {
  return row.wrong(std::string("the ") + what + " has " + std::to_string(tokens) +
                   " tokens, but the limit is " + std::to_string(limit));
}

Result<Prompt> read_prompt(const Row& row, const DatasetOptions& options,
                           const Tokenizer& tokenizer) {
  Prompt prompt;
  TW_ASSIGN(prompt.id, read_id(row, options.id_column));
  TW_ASSIGN(prompt.tokens,
            read_tokens(row, options.prompt_column, "prompt_tokens", tokenizer, true));
  if (prompt.tokens.empty()) return row.wrong("the prompt has no tokens");
  if (options.max_prompt_tokens > 0 &&
      prompt.tokens.size() > static_cast<size_t>(options.max_prompt_tokens)) {
    return too_long(row, "prompt", prompt.tokens.size(), options.max_prompt_tokens);
  }
  TW_ASSIGN(prompt.gold, read_answer(row, options));
  TW_ASSIGN(prompt.gold_tokens, encode(row, options.answer_column, prompt.gold, tokenizer, false));
  return prompt;
}

}  // namespace

Result<std::vector<Prompt>> load_prompts(const DatasetOptions& options,
                                         const Tokenizer& tokenizer) {
  std::vector<Prompt> prompts;
  std::unordered_map<std::string, size_t> lines;
  TW_TRY(for_each_row(options.path, [&](const Row& row) -> Result<void> {
    TW_ASSIGN(Prompt prompt, read_prompt(row, options, tokenizer));
    const auto [first, is_new] = lines.emplace(prompt.id, row.line);
    if (!is_new) {
      return row.wrong("the id \"" + prompt.id + "\" is that of line " +
                       std::to_string(first->second) + " already");
    }
    prompts.push_back(std::move(prompt));
    return {};
  }));
  return prompts;
}

Result<std::vector<SupervisedRow>> load_supervised(const SupervisedOptions& options,
                                                   const Tokenizer& tokenizer, int32_t eos) {
  std::vector<SupervisedRow> examples;
  TW_TRY(for_each_row(options.path, [&](const Row& row) -> Result<void> {
    SupervisedRow example;
    TW_ASSIGN(example.tokens,
              read_tokens(row, options.prompt_column, "prompt_tokens", tokenizer, true));
    if (example.tokens.empty()) return row.wrong("the prompt has no tokens");
    example.prompt_tokens = static_cast<uint32_t>(example.tokens.size());
    TW_ASSIGN(std::vector<int32_t> response,
              read_tokens(row, options.response_column, "response_tokens", tokenizer, false));
    if (eos >= 0 && (response.empty() || response.back() != eos)) response.push_back(eos);
    if (response.empty()) return row.wrong("the response has no tokens");
    example.tokens.insert(example.tokens.end(), response.begin(), response.end());
    if (options.max_tokens > 0 && example.tokens.size() > static_cast<size_t>(options.max_tokens)) {
      return too_long(row, "example", example.tokens.size(), options.max_tokens);
    }
    examples.push_back(std::move(example));
    return {};
  }));
  return examples;
}

}  // namespace tracewise
