#include "model/tokenizer.hpp"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "tests/temp_dir.hpp"

namespace tracewise {
namespace {

using nlohmann::json;
using Ids = std::vector<int32_t>;

const std::string kGolden = TRACEWISE_TEST_DATA "/tokenizer/";

std::unique_ptr<Tokenizer> demo_tokenizer() {
  return std::move(*make_symbol_tokenizer(
      {"<pad>", "<bos>", "<eos>", "\n", "0", "1", "2",    "3",      "4",   "5",   "6",    "7",
       "8",     "9",     "+",     "-",  "*", "=", "ans ", "check ", " ok", " no", "wait", ","},
      {0, 1, 2}, 1));
}

TEST_CASE("text and ids agree with transformers both ways") {
  const auto ours = demo_tokenizer();
  const auto theirs = load_tokenizer(kGolden + "tokenizer.json");
  REQUIRE(theirs.ok());
  for (const json& golden : json::parse(slurp(kGolden + "golden.json"))) {
    const auto text = golden["text"].get<std::string>();
    const auto ids = golden["ids"].get<Ids>();
    for (const Tokenizer* tokenizer : {ours.get(), theirs->get()}) {
      INFO(text);
      CHECK(*tokenizer->encode(text, false) == golden["plain_ids"].get<Ids>());
      Ids with_eos = *tokenizer->encode(text, true);
      with_eos.push_back(2);
      CHECK(with_eos == ids);
      CHECK(tokenizer->decode(ids, false) == golden["decoded"].get<std::string>());
      CHECK(tokenizer->decode(ids, true) == golden["skipped"].get<std::string>());
    }
  }
}

TEST_CASE("our tokenizer.json says what transformers writes for the same symbols") {
  CHECK(json::parse(demo_tokenizer()->to_json()) == json::parse(slurp(kGolden + "tokenizer.json")));
}

TEST_CASE("a tokenizer comes back from its own file") {
  TempDir dir;
  const auto symbols = make_symbol_tokenizer({"a", "ab", "b", "\xc3\xa9", "(|", "<s>"}, {5}, 5);
  REQUIRE(symbols.ok());
  const auto loaded = load_tokenizer(dir.put("tokenizer.json", (*symbols)->to_json()));
  REQUIRE(loaded.ok());
  CHECK((*loaded)->to_json() == (*symbols)->to_json());
  CHECK(*(*loaded)->encode("abab(|\xc3\xa9", true) == Ids{5, 1, 1, 4, 3});
}

TEST_CASE("the longest symbol that matches comes next") {
  const auto tokenizer = make_symbol_tokenizer({"a", "ab", "abc", "c"}, {}, -1);
  CHECK(*(*tokenizer)->encode("abcababac", true) == Ids{2, 1, 1, 0, 3});
}

TEST_CASE("text that no symbol spells is named with its place") {
  const auto ids = demo_tokenizer()->encode("1+x=2", true);
  REQUIRE_FALSE(ids.ok());
  CHECK(ids.error().error_class == ErrorClass::kBadInput);
  CHECK(ids.error().message == "the vocabulary has no symbol for \"x=2\" at byte 2 of the text");
  CHECK_FALSE(demo_tokenizer()->encode("<eos>", false).ok());  // no text spells a special token
  CHECK_FALSE(demo_tokenizer()->encode("\xff", false).ok());
}

TEST_CASE("pieces, specials and lookups") {
  const auto tokenizer = demo_tokenizer();
  CHECK(tokenizer->vocab_size() == 24);
  CHECK(tokenizer->piece(18) == "ans ");
  CHECK(tokenizer->piece(2) == "<eos>");
  CHECK(tokenizer->piece(24).empty());
  CHECK(tokenizer->piece(-1).empty());
  CHECK(tokenizer->is_special(2));
  CHECK_FALSE(tokenizer->is_special(3));
  CHECK_FALSE(tokenizer->is_special(99));
  CHECK(tokenizer->find(" ok") == 20);
  CHECK(tokenizer->find("ok") == -1);
}

TEST_CASE("symbols that contradict each other are refused") {
  const auto message = [](std::vector<std::string> symbols, Ids special, int32_t bos) {
    const auto made = make_symbol_tokenizer(std::move(symbols), std::move(special), bos);
    REQUIRE_FALSE(made.ok());
    return made.error().message;
  };
  CHECK(message({}, {}, -1) == "a tokenizer needs at least one symbol");
  CHECK(message({"a", ""}, {}, -1) == "symbol 1 is empty");
  CHECK(message({"a", "b", "a"}, {}, -1) == "symbol 2 \"a\" is symbol 0 already");
  CHECK(message({"a"}, {1}, -1) == "special id 1 is outside the vocabulary of 1");
  CHECK(message({"a", "b"}, {1}, 0) == "bos 0 is not a special id");
  CHECK_THAT(message({"a\xff"}, {}, -1), Catch::Contains("not valid UTF-8"));
  CHECK_THAT(message({"<", "s", ">", "<s>"}, {3}, 3), Catch::Contains("can be spelled"));
}

TEST_CASE("other kinds of tokenizers are refused by name") {
  TempDir dir;
  const auto error_of = [&](const std::function<void(json&)>& change) {
    json object = json::parse(demo_tokenizer()->to_json());
    change(object);
    const auto loaded = load_tokenizer(dir.put("tokenizer.json", object.dump()));
    REQUIRE_FALSE(loaded.ok());
    return loaded.error();
  };
  const auto refused = [&](const std::function<void(json&)>& change, const std::string& named) {
    const Error error = error_of(change);
    CHECK(error.error_class == ErrorClass::kUnsupported);
    CHECK_THAT(error.message, Catch::Contains(named));
    CHECK_THAT(error.message, Catch::Contains("tokenizer.json: "));
  };
  refused([](json& o) { o["model"]["type"] = "WordPiece"; },
          "model: a model of type \"WordPiece\" is not supported");
  refused([](json& o) { o["normalizer"] = {{"type", "NFC"}}; }, "normalizer \"NFC\"");
  refused([](json& o) { o["pre_tokenizer"] = {{"type", "ByteLevel"}}; }, "\"ByteLevel\"");
  refused([](json& o) { o["pre_tokenizer"]["pattern"]["Regex"] = "\\w+"; }, "pre_tokenizer");
  refused([](json& o) { o["decoder"] = {{"type", "ByteLevel"}}; }, "decoder of type \"ByteLevel\"");
  refused([](json& o) { o["post_processor"]["single"][0] = o["post_processor"]["single"][1]; },
          "post_processor");
  refused([](json& o) { o["added_tokens"][0]["special"] = false; }, "added token");
  refused([](json& o) { o["added_tokens"][0]["id"] = 24; }, "added token");
  CHECK(error_of([](json& o) { o["model"]["vocab"]["wait"] = 99; }).error_class ==
        ErrorClass::kBadInput);
  CHECK(error_of([](json& o) { o["model"]["vocab"]["wait"] = 3; }).error_class ==
        ErrorClass::kBadInput);
  CHECK(error_of([](json& o) { o["model"]["vocab"] = json::object(); }).error_class ==
        ErrorClass::kBadInput);
  CHECK(error_of([](json& o) { o = json::array(); }).error_class == ErrorClass::kBadInput);
  CHECK(load_tokenizer(dir / "none.json").error().error_class == ErrorClass::kIo);
}

}  // namespace
}  // namespace tracewise
