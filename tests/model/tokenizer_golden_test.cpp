// Whole tokenizers against what the tokenizers package made of the same texts
// (scripts/make_golden_tokenizers.py), and their speed on long words.
#include <catch2/catch.hpp>
#include <chrono>
#include <nlohmann/json.hpp>

#include "model/tokenizer.hpp"
#include "tests/temp_dir.hpp"

namespace tracewise {
namespace {

using nlohmann::json;
using Ids = std::vector<int32_t>;

const std::string kData = TRACEWISE_TEST_DATA "/tokenizer/";

std::unique_ptr<Tokenizer> load(const std::string& name) {
  auto loaded = load_tokenizer(kData + name + "/tokenizer.json");
  INFO(name << ": " << (loaded.ok() ? "" : loaded.error().message));
  REQUIRE(loaded.ok());
  return std::move(*loaded);
}

double seconds_to_encode(const Tokenizer& tokenizer, const std::string& text) {
  const auto start = std::chrono::steady_clock::now();
  REQUIRE(tokenizer.encode(text, false).ok());
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

TEST_CASE("texts and ids agree with the tokenizers package both ways") {
  for (const char* name : {"gpt2", "smollm2", "mixed", "marks", "t5"}) {
    const auto tokenizer = load(name);
    for (const json& golden : json::parse(slurp(kData + name + "/golden.json"))) {
      const auto text = golden["text"].get<std::string>();
      const auto ids = golden["ids"].get<Ids>();
      INFO(name << ": " << text);
      CHECK(*tokenizer->encode(text, true) == ids);
      CHECK(*tokenizer->encode(text, false) == golden["plain_ids"].get<Ids>());
      CHECK(tokenizer->decode(ids, false) == golden["decoded"].get<std::string>());
      CHECK(tokenizer->decode(ids, true) == golden["skipped"].get<std::string>());
    }
  }
}

TEST_CASE("a loaded tokenizer is saved byte for byte") {
  for (const char* name : {"gpt2", "marks", "t5"})
    CHECK(load(name)->to_json() == slurp(kData + name + "/tokenizer.json"));
}

TEST_CASE("the pieces of a text's ids are its bytes") {
  const auto bytes = load("gpt2");
  std::string text;
  const Ids all = *bytes->encode("the 🇩🇪<|endoftext|>\n", false);
  for (const int32_t id : all) text += bytes->piece(id);
  CHECK(text == "the 🇩🇪<|endoftext|>\n");

  // 272 is "▁the", 13 is <0x0A>: the blank before a text's first word is in the piece, not in the
  // text.
  const auto marks = load("marks");
  const Ids ids = *marks->encode("the\n", false);
  REQUIRE(ids.size() == 2);
  CHECK(marks->piece(ids[0]) == " the");
  CHECK(marks->piece(ids[1]) == "\n");
  CHECK(marks->decode(ids, false) == "the\n");
  CHECK(marks->piece(1) == "<s>");
  CHECK(marks->is_special(1));
  CHECK_FALSE(marks->is_special(ids[0]));
  CHECK(marks->piece(-1).empty());
  CHECK(marks->piece(marks->vocab_size()).empty());
}

TEST_CASE("a piece is found, and a letter's own token before that of its byte") {
  const auto marks = load("marks");
  CHECK(marks->piece(marks->find("t")) == "t");
  CHECK(marks->find("t") > 3 + 255);     // behind the byte tokens
  CHECK(marks->find("\n") == 3 + '\n');  // which no letter's token has
  CHECK(Ids{marks->find(" cat")} == *marks->encode("cat", false));
  CHECK(marks->find("dog") == -1);
}

TEST_CASE("text that is no UTF-8 is refused with its place") {
  const auto ids = load("gpt2")->encode("ab\xff", false);
  REQUIRE_FALSE(ids.ok());
  CHECK(ids.error().error_class == ErrorClass::kBadInput);
  CHECK(ids.error().message == "the text is not UTF-8 at byte 2");
}

TEST_CASE("a word of a megabyte takes about ten times as long as one of a tenth") {
  for (const char* name : {"gpt2", "marks", "t5"}) {
    const auto tokenizer = load(name);
    for (const char* letters : {"a", " ", "the", "th\n"}) {
      const auto run = [&](size_t bytes) {
        std::string text;
        while (text.size() < bytes) text += letters;
        // The best of three: others may be using the machine.
        double best = seconds_to_encode(*tokenizer, text);
        for (int i = 0; i < 2; ++i) best = std::min(best, seconds_to_encode(*tokenizer, text));
        return best;
      };
      INFO(name << ", runs of '" << letters << "'");
      const double tenth = run(100'000);
      CHECK(run(1'000'000) < 40 * tenth + 0.01);  // quadratic time would take 100 times as long
    }
  }
}

}  // namespace tracewise
