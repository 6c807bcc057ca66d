#include "rollout/data/dataset.hpp"

#include <catch2/catch.hpp>

#include "model/tokenizer.hpp"
#include "tests/temp_dir.hpp"

namespace tracewise {
namespace {

using Ids = std::vector<int32_t>;

// <bos> 0, <eos> 1, a 2, b 3, 7 4, blank 5, # 6
std::unique_ptr<Tokenizer> letters() {
  return std::move(*make_symbol_tokenizer({"<bos>", "<eos>", "a", "b", "7", " ", "#"}, {0, 1}, 0));
}

Result<std::vector<Prompt>> prompts(const TempDir& dir, const std::string& text,
                                    DatasetOptions options = {}) {
  options.path = dir.put("data.jsonl", text);
  return load_prompts(options, *letters());
}

std::string prompt_error(const std::string& text, DatasetOptions options = {}) {
  TempDir dir;
  const auto loaded = prompts(dir, text, options);
  REQUIRE_FALSE(loaded.ok());
  CHECK(loaded.error().error_class == ErrorClass::kBadInput);
  const std::string file = (dir / "data.jsonl").string();
  REQUIRE(loaded.error().message.starts_with(file));
  return loaded.error().message.substr(file.size());
}

TEST_CASE("a prompt file's rows are tokenised in order, with bos before text and none before ids") {
  TempDir dir;
  const auto loaded = prompts(dir,
                              "{\"prompt\": \"ab\", \"answer\": \" 7 \", \"id\": \"x\"}\n"
                              "\n"
                              "{\"prompt_tokens\": [3, 2], \"answer\": 7, \"other\": [1]}\r\n"
                              "{\"prompt\": \"a\", \"answer\": \"b\", \"id\": 9}");
  REQUIRE(loaded.ok());
  CHECK(*loaded == std::vector<Prompt>{{"x", {0, 2, 3}, "7", {4}, "ab"},
                                       {"3", {3, 2}, "7", {4}},  // no id: the line's number
                                       {"9", {0, 2}, "b", {3}, "a"}});
}

TEST_CASE("columns have the names they are given, and the answer may follow a prefix") {
  TempDir dir;
  DatasetOptions options;
  options.prompt_column = "q";
  options.answer_column = "a";
  options.id_column = "key";
  options.answer_prefix = "##";
  const auto loaded = prompts(dir, R"({"q": "b", "a": "a ## b ## 7", "key": "k"})", options);
  REQUIRE(loaded.ok());
  CHECK(loaded->front() == Prompt{"k", {0, 3}, "7", {4}, "b"});
}

TEST_CASE("an answer may be missing where none is required") {
  TempDir dir;
  DatasetOptions options;
  options.require_answer = false;
  const auto loaded = prompts(dir, R"({"prompt": "a"})", options);
  REQUIRE(loaded.ok());
  CHECK(loaded->front() == Prompt{"1", {0, 2}, "", {}, "a"});
}

TEST_CASE("what is wrong with a prompt file is named with its line") {
  CHECK(prompt_error("") == ": the file has no rows");
  CHECK(prompt_error("\n \n") == ": the file has no rows");
  const std::string good = "{\"prompt\": \"a\", \"answer\": \"7\"}\n";
  CHECK(prompt_error(good + "{\"prompt\": ") == ":2: not a JSON object");
  CHECK(prompt_error(good + "\n[1]") == ":3: not a JSON object");
  CHECK(prompt_error(R"({"question": "a", "answer": "7"})") ==
        ":1: \"prompt\" is missing; the row has \"question\", \"answer\"");
  CHECK(prompt_error(R"({"prompt": 3, "answer": "7"})") == ":1: \"prompt\" is no text");
  CHECK(prompt_error(R"({"prompt": "a"})") == ":1: \"answer\" is missing; the row has \"prompt\"");
  CHECK(prompt_error(R"({"prompt": "a", "answer": " "})") == ":1: \"answer\" is empty");
  CHECK(prompt_error(R"({"prompt": "a", "answer": [7]})") ==
        ":1: \"answer\" is [7], but must be text or a number");
  CHECK(prompt_error(R"({"prompt": "ax", "answer": "7"})") ==
        ":1: \"prompt\": the vocabulary has no symbol for \"x\" at byte 1 of the text");
  CHECK(prompt_error(R"({"prompt": "a", "answer": "8"})") ==
        ":1: \"answer\": the vocabulary has no symbol for \"8\" at byte 0 of the text");
  CHECK(prompt_error(R"({"prompt_tokens": [7], "answer": "7"})") ==
        ":1: \"prompt_tokens\" holds 7, but ids are from 0 to 6");
  CHECK(prompt_error(R"({"prompt_tokens": [-1], "answer": "7"})") ==
        ":1: \"prompt_tokens\" holds -1, but ids are from 0 to 6");
  CHECK(prompt_error(R"({"prompt_tokens": [], "answer": "7"})") == ":1: the prompt has no tokens");
  CHECK(prompt_error(R"({"prompt": "a", "prompt_tokens": [2], "answer": "7"})") ==
        ":1: the row has both \"prompt\" and \"prompt_tokens\"");
  CHECK(prompt_error(R"({"prompt": "a", "answer": "7", "id": "x"})"
                     "\n\n"
                     R"({"prompt": "b", "answer": "7", "id": "x"})") ==
        ":3: the id \"x\" is that of line 1 already");
  CHECK(prompt_error(R"({"prompt": "a", "answer": "7", "id": 1.5})") ==
        ":1: \"id\" is 1.5, but must be text or a whole number");
  DatasetOptions options;
  options.max_prompt_tokens = 3;
  CHECK(prompt_error(good + R"({"prompt": "aba", "answer": "7"})", options) ==
        ":2: the prompt has 4 tokens, but the limit is 3");
  options.answer_prefix = "#";
  CHECK(prompt_error(good, options) == ":1: \"answer\" has no \"#\"");
}

TEST_CASE("a prompt file that is not there is an I/O error") {
  TempDir dir;
  const auto loaded = load_prompts({.path = dir / "none.jsonl"}, *letters());
  REQUIRE_FALSE(loaded.ok());
  CHECK(loaded.error().error_class == ErrorClass::kIo);
  CHECK_FALSE(load_prompts({.path = dir.path()}, *letters()).ok());
}

TEST_CASE("a row may name its verifier and carry what reward functions are given") {
  TempDir dir;
  const auto loaded = prompts(
      dir,
      "{\"prompt\": \"a\", \"answer\": \"7\", \"verifier\": \"math\", \"metadata\": {\"n\": 1}}\n"
      "{\"prompt\": \"b\", \"answer\": \"7\", \"metadata\": [1, 2]}\n");
  REQUIRE(loaded.ok());
  CHECK(loaded->at(0).verifier == "math");
  CHECK(loaded->at(0).metadata == R"({"n":1})");
  CHECK(loaded->at(1).verifier.empty());
  CHECK(loaded->at(1).metadata == R"({"metadata":[1,2]})");
  CHECK(prompt_error(R"({"prompt": "a", "answer": "7", "verifier": 1})") ==
        ":1: \"verifier\" is no text");
  CHECK(prompt_error(R"({"prompt": "a", "answer": "7", "metadata": {"n": ")" +
                     std::string(262144, 'n') + "\"}}") ==
        ":1: prompt, answer and metadata have 262154 bytes, but a row may have 262144");
}

TEST_CASE("rows that cannot be used are dropped and counted where that is asked for") {
  TempDir dir;
  DatasetOptions options;
  options.max_prompt_tokens = 3;
  options.path = dir.put("data.jsonl",
                         "{\"prompt\": \"ab\", \"answer\": \"7\"}\n"
                         "{\"prompt\": \"aba\", \"answer\": \"7\"}\n"
                         "{\"prompt\": \"abb\", \"answer\": \"7\"}\n"
                         "{\"prompt\": \"a\"}\n"
                         "{\"prompt\": \"a\", \"answer\": \"b\"}\n"
                         "{\"question\": \"a\", \"answer\": \"7\"}\n");
  const std::string file = options.path.string();
  const auto tokenizer = letters();
  const PromptCheck is_number = [](const Prompt& prompt) -> Result<void> {
    return prompt.gold == "7" ? Result<void>() : bad_input("no number");
  };
  options.drop = DropRows::kLong;
  CHECK(load_dataset(options, *tokenizer, {}, is_number).error().message ==
        file + ":4: \"answer\" is missing; the row has \"prompt\"");
  options.drop = DropRows::kUnusable;
  const auto data = load_dataset(options, *tokenizer, {}, is_number);
  REQUIRE(data.ok());
  CHECK(data->prompts == std::vector<Prompt>{{"1", {0, 2, 3}, "7", {4}, "ab"}});
  CHECK(data->report.rows == 6);
  REQUIRE(data->report.dropped.size() == 4);
  CHECK(data->report.dropped.at("too long").rows == 2);
  CHECK(data->report.dropped.at("too long").first ==
        file + ":2: the prompt has 4 tokens, but the limit is 3");
  CHECK(data->report.dropped.at("no answer").rows == 1);
  CHECK(data->report.dropped.at("cannot be verified").first == file + ":5: no number");
  CHECK(data->report.dropped.at("bad prompt").rows == 1);
  options.max_prompt_tokens = 1;
  CHECK(load_dataset(options, *tokenizer).error().message ==
        file + ": no row is left, the first was dropped because: " + file +
            ":6: \"prompt\" is missing; the row has \"question\", \"answer\"");
}

TEST_CASE("messages need a chat template") {
  CHECK(prompt_error(R"({"messages": [{"role": "user", "content": "a"}], "answer": "7"})") ==
        ":1: messages need a chat template, but the model's folder has neither "
        "chat_template.jinja nor \"chat_template\" in tokenizer_config.json");
  CHECK(prompt_error(R"({"messages": [], "answer": "7"})") ==
        ":1: \"messages\" is no list of messages");
  CHECK(prompt_error(R"({"prompt": [{"role": "user"}], "answer": "7"})") ==
        ":1: \"prompt\"[0] has no \"role\" and \"content\"");
  CHECK(prompt_error(R"({"messages": [], "prompt": "a", "answer": "7"})") ==
        ":1: the row has both \"prompt\" and \"messages\"");
}

}  // namespace
}  // namespace tracewise
