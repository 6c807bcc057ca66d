// Prompt files: rows in, tokens out. Everything is tokenised once, here.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "messages/records.hpp"
#include "messages/result.hpp"
#include "model/model_files.hpp"

namespace tracewise {

class Tokenizer;

// Which rows are left out instead of being an error.
enum class DropRows : uint8_t {
  kNone,
  kLong,      // whose prompt has more than max_prompt_tokens
  kUnusable,  // and those with anything else wrong, but for a line that is no JSON object
};

// Where a prompt file's rows have what. Other columns are passed over.
struct DatasetOptions {
  std::filesystem::path path = {};  // JSON lines, or Parquet if it ends in .parquet
  // A row has one of three: text, messages ({"role", "content"} each) for the chat template, or
  // ids.
  std::string prompt_column = "prompt";
  std::string messages_column = "messages";
  std::string tokens_column = "prompt_tokens";
  std::string answer_column = "answer";      // text or number
  std::string id_column = "id";              // text or whole number; without it the row's number
  std::string verifier_column = "verifier";  // text: the kind that verifies the row
  std::string metadata_column = "metadata";  // for reward functions; what is no object becomes
                                             // {column: value}
  std::string answer_prefix = {};  // the gold answer is what follows its last occurrence; empty:
                                   // the whole column
  bool require_answer = true;      // whether a row without an answer is wrong
  int64_t max_prompt_tokens = 0;   // of a prompt; 0: no limit
  DropRows drop = DropRows::kNone;
  bool as_chat = false;                 // text is a user's message for the chat template
  std::string system_prompt = {};       // before messages that begin with none of their own
  std::string prompt_suffix = {};       // behind the text, or the last message of a user
  std::string template_variables = {};  // JSON object; see ChatTemplate::start()
};

struct DroppedRows {
  uint64_t rows = 0;
  std::string first;  // what is wrong with the first of them, with its place
};

// What became of a file's rows.
struct DatasetReport {
  uint64_t rows = 0;
  std::map<std::string, DroppedRows> dropped;  // by reason: "too long", "no answer", ...
  std::string template_hash;                   // of the chat template; empty: none was needed
};

struct Dataset {
  std::vector<Prompt> prompts;  // in the file's order
  DatasetReport report;
};

// What else a prompt has to fulfil: that its answer can be verified.
using PromptCheck = std::function<Result<void>(const Prompt&)>;

// Text gets the tokenizer's own prefix (bos), token ids are taken as they are, and what a chat
// template has rendered (`files` are the model's) is taken literally. kBadInput names file and row:
// no rows, a line that is no JSON object, a missing column, an id that comes twice, text that the
// vocabulary cannot spell, an empty or too long prompt, messages that the template refuses, or that
// nothing is left.
Result<Dataset> load_dataset(const DatasetOptions& options, const Tokenizer& tokenizer,
                             const ModelFiles& files = {}, const PromptCheck& check = {});

// The prompts alone.
Result<std::vector<Prompt>> load_prompts(const DatasetOptions& options, const Tokenizer& tokenizer,
                                         const ModelFiles& files = {},
                                         const PromptCheck& check = {});

}  // namespace tracewise
