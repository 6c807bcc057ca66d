// Supervised files: rows of a prompt and its response in, tokens out.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "messages/result.hpp"

namespace tracewise {

class Tokenizer;

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
// kBadInput names file and row.
Result<std::vector<SupervisedRow>> load_supervised(const SupervisedOptions& options,
                                                   const Tokenizer& tokenizer, int32_t eos);

// The responses alone, whatever the prompts are.
Result<std::vector<std::vector<int32_t>>> load_responses(const SupervisedOptions& options,
                                                         const Tokenizer& tokenizer, int32_t eos);

}  // namespace tracewise
