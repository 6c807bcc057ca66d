#include "rollout/data/dataset.hpp"

#include <optional>
#include <unordered_map>

#include "messages/group_size.hpp"
#include "model/tokenizer.hpp"
#include "rollout/answer_text.hpp"
#include "rollout/data/chat_template.hpp"
#include "rollout/data/row_tokens.hpp"

namespace tracewise {
namespace {

using json = RowJson;

// Reads rows one after the other.
class PromptReader {
 public:
  PromptReader(const DatasetOptions& options, const Tokenizer& tokenizer, const ModelFiles& files,
               const PromptCheck& check)
      : options_(options), tokenizer_(tokenizer), files_(files), check_(check) {}

  // An error is the row's; reason() has it in a word or two, "" for one that no row is to blame
  // for.
  Result<Prompt> read(const Row& row);
  const std::string& reason() const { return reason_; }
  std::string template_hash() const { return chat_ ? chat_->hash() : std::string(); }

 private:
  Result<void> read_prompt(const Row& row, Prompt& prompt);
  Result<void> read_chat(const Row& row, const std::string& column, json messages, Prompt& prompt);
  Result<void> complete(const Row& row, const std::string& column, json& messages) const;
  Result<std::string> read_answer(const Row& row) const;
  Result<std::string> read_id(const Row& row) const;
  Result<void> read_extras(const Row& row, Prompt& prompt) const;

  const DatasetOptions& options_;
  const Tokenizer& tokenizer_;
  const ModelFiles& files_;
  const PromptCheck& check_;
  std::optional<ChatTemplate> chat_;                 // once a row has needed it
  std::unordered_map<std::string, size_t> numbers_;  // of rows, by id
  std::string reason_;
};

json message(const char* role, const std::string& content) {
  return {{"role", role}, {"content", content}};
}

Result<Prompt> PromptReader::read(const Row& row) {
  Prompt prompt;
  reason_ = "bad id";
  TW_ASSIGN(prompt.id, read_id(row));
  reason_ = "bad prompt";
  TW_TRY(read_prompt(row, prompt));
  if (prompt.tokens.empty()) return row.wrong("the prompt has no tokens");
  if (options_.max_prompt_tokens > 0 &&
      prompt.tokens.size() > static_cast<size_t>(options_.max_prompt_tokens)) {
    reason_ = "too long";
    return too_long(row, "prompt", prompt.tokens.size(), options_.max_prompt_tokens);
  }
  reason_ = row.has(options_.answer_column) ? "bad answer" : "no answer";
  TW_ASSIGN(prompt.gold, read_answer(row));
  TW_ASSIGN(prompt.gold_tokens,
            encode_text(row, options_.answer_column, prompt.gold, tokenizer_, false));
  reason_ = "bad verifier or metadata";
  TW_TRY(read_extras(row, prompt));
  if (check_) {
    reason_ = "cannot be verified";
    if (const auto good = check_(prompt); !good.ok()) return row.wrong(good.error().message);
  }
  reason_ = "id comes twice";
  const auto [first, is_new] = numbers_.emplace(prompt.id, row.number);
  if (!is_new) {
    return row.wrong("the id \"" + prompt.id + "\" is that of line " +
                     std::to_string(first->second) + " already");
  }
  return prompt;
}

Result<void> PromptReader::read_prompt(const Row& row, Prompt& prompt) {
  const std::string& text_column = options_.prompt_column;
  const std::string* found = nullptr;
  for (const auto* column : {&text_column, &options_.messages_column, &options_.tokens_column}) {
    if (!row.has(*column)) continue;
    if (found != nullptr && *found != *column)
      return row.wrong("the row has both \"" + *found + "\" and \"" + *column + "\"");
    found = column;
  }
  if (found == nullptr) return row.missing(text_column);
  if (found == &options_.tokens_column) {
    TW_ASSIGN(prompt.tokens, read_ids(row, *found, tokenizer_));
    return {};
  }
  if (found == &options_.messages_column || row.object[*found].is_array())
    return read_chat(row, *found, row.object[*found], prompt);
  TW_ASSIGN(prompt.text, row.text(text_column));
  if (options_.as_chat)
    return read_chat(row, text_column, json::array({message("user", prompt.text)}), prompt);
  prompt.text += options_.prompt_suffix;
  TW_ASSIGN(prompt.tokens, encode_text(row, text_column, prompt.text, tokenizer_, true));
  return {};
}

Result<void> PromptReader::read_chat(const Row& row, const std::string& column, json messages,
                                     Prompt& prompt) {
  TW_TRY(complete(row, column, messages));
  if (!chat_) {
    auto started = ChatTemplate::start(files_, options_.template_variables);
    if (!started.ok()) {
      reason_.clear();
      return Error{started.error().error_class, row.place + ": " + started.error().message};
    }
    chat_ = std::move(*started);
  }
  auto text = chat_->render(messages.dump(-1, ' ', false, json::error_handler_t::replace));
  if (!text.ok()) {
    if (text.error().error_class != ErrorClass::kBadInput) reason_.clear();
    return Error{text.error().error_class,
                 row.place + ": \"" + column + "\": " + text.error().message};
  }
  prompt.text = std::move(*text);
  TW_ASSIGN(prompt.tokens, encode_text(row, column, prompt.text, tokenizer_, false));
  return {};
}

// Checks the messages' form and adds what the options add to each.
Result<void> PromptReader::complete(const Row& row, const std::string& column,
                                    json& messages) const {
  const std::string named = "\"" + column + "\"";
  if (!messages.is_array() || messages.empty()) return row.wrong(named + " is no list of messages");
  json* last_user = nullptr;
  for (size_t i = 0; i < messages.size(); ++i) {
    json& m = messages[i];
    if (!m.is_object() || !m.contains("role") || !m["role"].is_string() || !m.contains("content"))
      return row.wrong(named + "[" + std::to_string(i) + "] has no \"role\" and \"content\"");
    if (m["role"] == "user" && m["content"].is_string()) last_user = &m;
  }
  if (!options_.prompt_suffix.empty()) {
    if (last_user == nullptr)
      return row.wrong(named + " has no message of a user's for the suffix");
    (*last_user)["content"] = (*last_user)["content"].get<std::string>() + options_.prompt_suffix;
  }
  if (!options_.system_prompt.empty() && messages[0]["role"] != "system")
    messages.insert(messages.begin(), message("system", options_.system_prompt));
  return {};
}

Result<std::string> PromptReader::read_answer(const Row& row) const {
  const std::string& column = options_.answer_column;
  if (!row.has(column)) {
    if (!options_.require_answer) return std::string();
    return row.missing(column);
  }
  const json& value = row.object[column];
  if (!value.is_string() && !value.is_number()) {
    return row.wrong("\"" + column + "\" is " + value.dump() + ", but must be text or a number");
  }
  std::string text = value.is_string() ? value.get<std::string>() : value.dump();
  if (!options_.answer_prefix.empty()) {
    const size_t at = text.rfind(options_.answer_prefix);
    if (at == std::string::npos) {
      return row.wrong("\"" + column + "\" has no \"" + options_.answer_prefix + "\"");
    }
    text.erase(0, at + options_.answer_prefix.size());
  }
  text = trimmed(text);
  if (text.empty() && options_.require_answer) return row.wrong("\"" + column + "\" is empty");
  return text;
}

Result<std::string> PromptReader::read_id(const Row& row) const {
  const std::string& column = options_.id_column;
  if (!row.has(column)) return std::to_string(row.number);
  const json& value = row.object[column];
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number_integer()) return value.dump();
  return row.wrong("\"" + column + "\" is " + value.dump() +
                   ", but must be text or a whole number");
}

Result<void> PromptReader::read_extras(const Row& row, Prompt& prompt) const {
  if (row.has(options_.verifier_column)) {
    TW_ASSIGN(prompt.verifier, row.text(options_.verifier_column));
  }
  if (const std::string& column = options_.metadata_column; row.has(column)) {
    const json& value = row.object[column];
    prompt.metadata = (value.is_object() ? value : json{{column, value}})
                          .dump(-1, ' ', false, json::error_handler_t::replace);
  }
  const size_t bytes = prompt.text.size() + prompt.gold.size() + prompt.metadata.size();
  if (bytes <= kMaxRowTextBytes) return {};
  return row.wrong("prompt, answer and metadata have " + std::to_string(bytes) +
                   " bytes, but a row may have " + std::to_string(kMaxRowTextBytes));
}

}  // namespace

Result<Dataset> load_dataset(const DatasetOptions& options, const Tokenizer& tokenizer,
                             const ModelFiles& files, const PromptCheck& check) {
  Dataset data;
  PromptReader reader(options, tokenizer, files, check);
  TW_TRY(for_each_row(options.path, [&](const Row& row) -> Result<void> {
    ++data.report.rows;
    auto prompt = reader.read(row);
    if (prompt.ok()) {
      data.prompts.push_back(std::move(*prompt));
      return {};
    }
    const bool dropped = options.drop == DropRows::kLong
                             ? reader.reason() == "too long"
                             : options.drop == DropRows::kUnusable && !reader.reason().empty();
    if (!dropped) return prompt.error();
    DroppedRows& of = data.report.dropped[reader.reason()];
    if (of.rows++ == 0) of.first = prompt.error().message;
    return {};
  }));
  data.report.template_hash = reader.template_hash();
  if (!data.prompts.empty()) return data;
  const DroppedRows& first = data.report.dropped.begin()->second;
  return bad_input(options.path.string() +
                   ": no row is left, the first was dropped because: " + first.first);
}

Result<std::vector<Prompt>> load_prompts(const DatasetOptions& options, const Tokenizer& tokenizer,
                                         const ModelFiles& files, const PromptCheck& check) {
  TW_ASSIGN(Dataset data, load_dataset(options, tokenizer, files, check));
  return std::move(data.prompts);
}

}  // namespace tracewise
