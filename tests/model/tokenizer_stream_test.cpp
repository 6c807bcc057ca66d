// Text of ids as they come, against the text of all of them.
#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>
#include <random>

#include "model/tokenizer.hpp"
#include "model/tokenizer/token_decoder.hpp"
#include "model/tokenizer/unicode.hpp"
#include "tests/temp_dir.hpp"

namespace tracewise {
namespace {

using nlohmann::json;
using Texts = std::vector<std::string>;

// What each of the tokens adds, and what the end does.
Texts flow(const json& made, const Texts& tokens) {
  const json part =
      json::parse(made.dump());  // as if read from a file: whole numbers are unsigned there
  const auto decoder = tok::TokenDecoder::read(tok::Fields(part, "d"));
  INFO((decoder.ok() ? "" : decoder.error().message));
  REQUIRE(decoder.ok());
  tok::TokenDecoder::Flow flow(*decoder);
  Texts out;
  for (const std::string& token : tokens) flow.feed(decoder->prepared(token), out.emplace_back());
  flow.finish(out.emplace_back());
  return out;
}

json sequence(const json& decoders) { return {{"type", "Sequence"}, {"decoders", decoders}}; }
json llama() {
  return sequence({{{"type", "Replace"}, {"pattern", {{"String", "▁"}}}, {"content", " "}},
                   {{"type", "ByteFallback"}},
                   {{"type", "Fuse"}},
                   {{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}}});
}

}  // namespace

TEST_CASE("a character that came in parts is shown when it is whole") {
  const json bytes = {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", true}};
  // "é" is C3 A9, spelled Ã and ©.
  CHECK(flow(bytes, {"Ġa", "Ã", "©b", "Ã", "c"}) == Texts{" a", "", "éb", "", "\ufffdc", ""});
  CHECK(flow(bytes, {"a", "Ã"}) == Texts{"a", "", "\ufffd"});
  CHECK(flow(bytes, {"<｜x｜>"}) == Texts{"<｜x｜>", ""});  // is not spelled in that alphabet
}

TEST_CASE("a run of byte tokens is held back until its end, since one wrong byte spoils all") {
  CHECK(flow(llama(), {"▁a", "<0xC3>", "<0xA9>", "▁b"}) == Texts{"a", "", "", "é b", ""});
  CHECK(flow(llama(), {"▁", "<0xC3>", "<0xA9>", "<0xFF>"}) ==
        Texts{"", "", "", "", "\ufffd\ufffd\ufffd"});
  CHECK(flow(llama(), {"▁▁", "▁a"}) == Texts{" ", " a", ""});
}

TEST_CASE("Metaspace leaves out the blank of the first token alone") {
  const json part = {
      {"type", "Metaspace"}, {"replacement", "▁"}, {"prepend_scheme", "always"}, {"split", true}};
  CHECK(flow(part, {"▁a", "▁b"}) == Texts{"a", " b", ""});
}

TEST_CASE("blanks at the end wait until it is known whether they are the last") {
  const json part = sequence(
      {{{"type", "Fuse"}}, {{"type", "Strip"}, {"content", " "}, {"start", 0}, {"stop", 2}}});
  CHECK(flow(part, {"a  ", " ", "b", " "}) == Texts{"a", " ", "  b", "", ""});
}

TEST_CASE("without a decoder tokens are words") {
  CHECK(flow(nullptr, {"a", "b"}) == Texts{"a", " b", ""});
}

TEST_CASE("a decoder that would change what was shown is refused") {
  const auto refused = [](const json& part) {
    const auto decoder = tok::TokenDecoder::read(tok::Fields(part, "d"));
    REQUIRE_FALSE(decoder.ok());
    return decoder.error().message;
  };
  CHECK(
      refused(
          sequence({{{"type", "Fuse"}},
                    {{"type", "Replace"}, {"pattern", {{"String", "a"}}}, {"content", "b"}}})) ==
      "d: decoders[1]: a decoder of type \"Replace\" behind a Fuse or ByteLevel is not supported");
  CHECK(refused({{"type", "WordPiece"}}) == "d: a decoder of type \"WordPiece\" is not supported");
}

TEST_CASE("what a stream shows is UTF-8 and, put together, the text of all ids") {
  for (const char* name : {"gpt2", "marks", "t5", "mixed"}) {
    const auto loaded =
        load_tokenizer(std::string(TRACEWISE_TEST_DATA "/tokenizer/") + name + "/tokenizer.json");
    REQUIRE(loaded.ok());
    const Tokenizer& tokenizer = **loaded;
    std::mt19937 random(7);
    for (int round = 0; round < 300; ++round) {
      const auto stream = tokenizer.stream(round % 2 == 0);
      std::vector<int32_t> ids;
      std::string text;
      for (int i = 0; i < 12; ++i) {
        // Also ids that are none.
        ids.push_back(static_cast<int32_t>(random() % (tokenizer.vocab_size() + 2)) - 1);
        std::string more;
        stream->push({&ids.back(), 1}, more);
        CHECK_FALSE(tok::first_invalid_utf8(more));
        text += more;
      }
      stream->finish(text);
      INFO(name << ", round " << round);
      CHECK(text == tokenizer.decode(ids, round % 2 == 0));
    }
  }
}

}  // namespace tracewise
