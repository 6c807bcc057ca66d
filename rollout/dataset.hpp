// Prompt and supervised files: JSON lines in, tokens out. Everything is tokenised once, here.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "messages/records.hpp"
#include "messages/result.hpp"

namespace tracewise {

class Tokenizer;

// Where a prompt file's rows have what. Other columns are passed over.
struct DatasetOptions {
  std::filesystem::path path = {};
  std::string prompt_column = "prompt";  // text; a row may have "prompt_tokens" (ids) instead
  std::string answer_column = "answer";  // text or number
  std::string id_column = "id";    // text or whole number; without it the id is the line number
  std::string answer_prefix = {};  // the gold answer is what follows its last occurrence; empty:
                                   // the whole column
  bool require_answer = true;      // a row without an answer is an error
  int64_t max_prompt_tokens = 0;   // a longer prompt is an error; 0: no limit
};

// The rows of a file in its order. Text gets the tokenizer's own prefix (bos), token ids are taken
// as they are. kBadInput names file and line: no rows, a line that is no JSON object, a missing
// column, an id that comes twice, text that the vocabulary cannot spell, an empty or too long
// prompt.
Result<std::vector<Prompt>> load_prompts(const DatasetOptions& options, const Tokenizer& tokenizer);

struct SupervisedOptions {
  std::filesystem::path path = {};
  std::string prompt_column = "prompt";      // text; or "prompt_tokens"
  std::string response_column = "response";  // text; or "response_tokens"
  int64_t max_tokens = 0;                    // of prompt, response and end token; 0: no limit
};

struct SupervisedRow {
  std::vector<int32_t> tokens;  // prompt, response, end token
  uint32_t prompt_tokens = 0;   // P; the loss is on tokens[P..]
  bool operator==(const SupervisedRow&) const = default;
};

// The rows of a file in its order. `eos` ends each response unless it does already; -1: none.
// Errors as of load_prompts.
Result<std::vector<SupervisedRow>> load_supervised(const SupervisedOptions& options,
                                                   const Tokenizer& tokenizer, int32_t eos);

}  // namespace tracewise
