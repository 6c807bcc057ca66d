#include "rollout/data/supervised.hpp"

#include "rollout/data/row_tokens.hpp"

namespace tracewise {
namespace {

using Ids = std::vector<int32_t>;

// With the end token behind it.
Result<Ids> read_response(const Row& row, const SupervisedOptions& options,
                          const Tokenizer& tokenizer, int32_t eos) {
  TW_ASSIGN(Ids response,
            read_tokens(row, options.response_column, "response_tokens", tokenizer, false));
  if (eos >= 0 && (response.empty() || response.back() != eos)) response.push_back(eos);
  if (response.empty()) return row.wrong("the response has no tokens");
  return response;
}

}  // namespace

Result<std::vector<SupervisedRow>> load_supervised(const SupervisedOptions& options,
                                                   const Tokenizer& tokenizer, int32_t eos) {
  std::vector<SupervisedRow> examples;
  TW_TRY(for_each_row(options.path, [&](const Row& row) -> Result<void> {
    SupervisedRow example;
    TW_ASSIGN(example.tokens,
              read_tokens(row, options.prompt_column, "prompt_tokens", tokenizer, true));
    if (example.tokens.empty()) return row.wrong("the prompt has no tokens");
    example.prompt_tokens = static_cast<uint32_t>(example.tokens.size());
    TW_ASSIGN(const Ids response, read_response(row, options, tokenizer, eos));
    example.tokens.insert(example.tokens.end(), response.begin(), response.end());
    if (options.max_tokens > 0 && example.tokens.size() > static_cast<size_t>(options.max_tokens)) {
      return too_long(row, "example", example.tokens.size(), options.max_tokens);
    }
    examples.push_back(std::move(example));
    return {};
  }));
  return examples;
}

Result<std::vector<Ids>> load_responses(const SupervisedOptions& options,
                                        const Tokenizer& tokenizer, int32_t eos) {
  std::vector<Ids> responses;
  TW_TRY(for_each_row(options.path, [&](const Row& row) -> Result<void> {
    TW_ASSIGN(Ids response, read_response(row, options, tokenizer, eos));
    responses.push_back(std::move(response));
    return {};
  }));
  return responses;
}

}  // namespace tracewise
