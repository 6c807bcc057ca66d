#include "rollout/data/supervised.hpp"

#include <catch2/catch.hpp>

#include "model/tokenizer.hpp"
#include "tests/temp_dir.hpp"

namespace tracewise {
namespace {

// <bos> 0, <eos> 1, a 2, b 3, 7 4, blank 5, # 6
std::unique_ptr<Tokenizer> letters() {
  return std::move(*make_symbol_tokenizer({"<bos>", "<eos>", "a", "b", "7", " ", "#"}, {0, 1}, 0));
}

TEST_CASE("a supervised row ends with the end token, once") {
  TempDir dir;
  SupervisedOptions options;
  options.path = dir.put("sft.jsonl",
                         "{\"prompt\": \"a\", \"response\": \"b7\"}\n"
                         "{\"prompt_tokens\": [2], \"response_tokens\": [3, 1]}\n"
                         "{\"prompt\": \"\", \"response\": \"\"}\n");
  const auto rows = load_supervised(options, *letters(), 1);
  REQUIRE(rows.ok());
  CHECK(*rows == std::vector<SupervisedRow>{{{0, 2, 3, 4, 1}, 2}, {{2, 3, 1}, 1}, {{0, 1}, 1}});
  options.max_tokens = 4;
  CHECK(load_supervised(options, *letters(), 1).error().message ==
        options.path.string() + ":1: the example has 5 tokens, but the limit is 4");
}

TEST_CASE("a supervised row without an end token needs a response") {
  TempDir dir;
  SupervisedOptions options;
  options.path = dir.put("sft.jsonl", R"({"prompt": "a", "response": ""})");
  CHECK(load_supervised(options, *letters(), -1).error().message ==
        options.path.string() + ":1: the response has no tokens");
  options.path = dir.put("sft.jsonl", R"({"prompt": "a", "completion": "b"})");
  CHECK(load_supervised(options, *letters(), -1).error().message ==
        options.path.string() +
            ":1: \"response\" is missing; the row has \"prompt\", \"completion\"");
}

}  // namespace
}  // namespace tracewise
