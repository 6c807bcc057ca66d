// The parts of a tokenizer by themselves, on vocabularies small enough to follow by hand.
#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "model/tokenizer/added_tokens.hpp"
#include "model/tokenizer/bpe.hpp"
#include "model/tokenizer/normalizer.hpp"
#include "model/tokenizer/pattern.hpp"
#include "model/tokenizer/pre_tokenizer.hpp"
#include "model/tokenizer/unicode.hpp"
#include "model/tokenizer/unigram.hpp"

namespace tracewise::tok {
namespace {

using nlohmann::json;
using Ids = std::vector<int32_t>;
using Texts = std::vector<std::string>;

std::string normal(const json& part, std::string text) {
  const auto normalizer = Normalizer::read(Fields(part, "n"));
  INFO((normalizer.ok() ? "" : normalizer.error().message));
  REQUIRE(normalizer.ok());
  bool at_start = true;
  REQUIRE(normalizer->apply(text, at_start).ok());
  return text;
}

Texts cut(const json& part, const std::string& text) {
  const auto cutter = PreTokenizer::read(Fields(part, "p"));
  INFO((cutter.ok() ? "" : cutter.error().message));
  REQUIRE(cutter.ok());
  std::vector<Piece> pieces = {{text, -1, true}};
  std::deque<std::string> made;
  REQUIRE(cutter->apply(pieces, made).ok());
  Texts out;
  for (const Piece& piece : pieces) out.emplace_back(piece.text);
  return out;
}

json split(const char* regex, const char* behavior, bool invert = false) {
  return {{"type", "Split"},
          {"pattern", {{"Regex", regex}}},
          {"behavior", behavior},
          {"invert", invert}};
}

// As if read from a file: whole numbers are unsigned there.
json from_file(const json& part) { return json::parse(part.dump()); }

Texts matches(const char* regex, const std::string& text) {
  const auto pattern = Pattern::regex(regex);
  INFO((pattern.ok() ? "" : pattern.error().message));
  REQUIRE(pattern.ok());
  std::vector<Match> cuts;
  REQUIRE(pattern->cut(text, cuts).ok());
  Texts out;
  for (const Match& m : cuts) {
    if (m.matches) out.push_back(text.substr(m.begin, m.end - m.begin));
  }
  return out;
}

Result<Ids> bpe(const json& model, const std::string& word, bool byte_level = false) {
  const json file = from_file(model);
  const Fields fields(file, "m");
  TW_ASSIGN(const Vocabulary vocabulary, Vocabulary::read_map(fields));
  TW_ASSIGN(const Bpe encoder, Bpe::read(fields, vocabulary, byte_level));
  Ids ids;
  TW_TRY(encoder.encode(word, ids));
  return ids;
}

Ids unigram(const json& model, const std::string& word) {
  const json file = from_file(model);
  const Fields fields(file, "m");
  std::vector<double> scores;
  const auto vocabulary = Vocabulary::read_list(fields, scores);
  REQUIRE(vocabulary.ok());
  const auto encoder = Unigram::read(fields, *vocabulary, scores);
  REQUIRE(encoder.ok());
  Ids ids;
  REQUIRE(encoder->encode(word, ids).ok());
  return ids;
}

json abc() {
  return {{"type", "BPE"},
          {"vocab", {{"a", 0}, {"b", 1}, {"c", 2}, {"ab", 3}, {"bc", 4}, {"abc", 5}, {"<unk>", 6}}},
          {"merges", {"b c", "a b", "a bc"}}};
}

}  // namespace

TEST_CASE("what is no UTF-8 becomes one U+FFFD for each maximal part, and what may go on waits") {
  std::string out;
  CHECK(append_lossy("a\xe4\xbd\x80", out) == 0);  // a whole character
  CHECK(append_lossy("\xff\xc3(\xed\xa0\x80", out) == 0);
  CHECK(out ==
        "a\xe4\xbd\x80"
        "\xef\xbf\xbd"
        "\xef\xbf\xbd("
        "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
  out.clear();
  CHECK(append_lossy("b\xf0\x9f\x87", out) == 3);
  CHECK(out == "b");
  CHECK_FALSE(first_invalid_utf8("a\xe4\xbd\x80"));
  CHECK(first_invalid_utf8("ab\xc0\x80") == 2);
}

TEST_CASE("regular expressions mean what Oniguruma makes of them") {
  CHECK(matches(R"(\p{N}{1,3})", "12345") == Texts{"123", "45"});
  CHECK(matches(R"((?i:'s|'ll))", "it'S we'LL") == Texts{"'S", "'LL"});
  CHECK(matches(R"(\s+(?!\S)|\s+)", "a   b") == Texts{"  ", " "});
  CHECK(matches(R"(\s)", "\xc2\x85\xe1\xa0\x8e") ==
        Texts{"\xc2\x85"});                            // not U+180E, as PCRE2's \s would
  CHECK(matches(R"(\v)", "\n\x0b") == Texts{"\x0b"});  // not all that is vertical
  CHECK(matches(R"(^a)", "a\na") == Texts{"a", "a"});
  CHECK(matches(R"(\u0061{,2})", "aaa") == Texts{"aa", "a"});
  CHECK(matches("\\p{L}", "\U0001df25") == Texts{"\U0001df25"});  // of Unicode 15.0
  CHECK(matches("x*", "axb") == Texts{"", "x", ""});              // no empty match behind a match
  for (const char* refused : {R"(\bword\b)", R"([a&&b])", R"([a[b]])", R"([\W])", R"(\h)",
                              R"((?<n>a))", R"(\p{Cn})", "(a", "\\"}) {
    INFO(refused);
    const auto pattern = Pattern::regex(refused);
    REQUIRE_FALSE(pattern.ok());
    CHECK(pattern.error().error_class == ErrorClass::kUnsupported);
  }
}

TEST_CASE("normalizers rewrite text one after the other") {
  CHECK(normal({{"type", "NFC"}}, "e\u0301") == "\u00e9");
  CHECK(normal({{"type", "NFD"}}, "\u00e9") == "e\u0301");
  CHECK(normal({{"type", "NFKC"}}, "ﬁ½") == "fi1⁄2");
  CHECK(normal({{"type", "NFKD"}}, "é①") == "e\u03011");
  CHECK(normal({{"type", "Lowercase"}}, "GRÖSSE İ") == "grösse i\u0307");
  CHECK(normal({{"type", "StripAccents"}}, "e\u0301") == "e");
  CHECK(normal({{"type", "Strip"}, {"strip_left", true}, {"strip_right", false}}, " \u3000a ") ==
        "a ");
  const json marks = {{"type", "Sequence"},
                      {"normalizers",
                       {{{"type", "Prepend"}, {"prepend", "▁"}},
                        {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "▁"}}}}};
  CHECK(normal(marks, "a b") == "▁a▁b");
  CHECK(normal(marks, "").empty());
}

TEST_CASE("a split does with its matches what its behavior says") {
  CHECK(cut(split("-", "Removed"), "a--b-") == Texts{"a", "b"});
  CHECK(cut(split("-", "Isolated"), "a--b-") == Texts{"a", "-", "-", "b", "-"});
  CHECK(cut(split("-", "MergedWithPrevious"), "a--b-") == Texts{"a-", "-", "b-"});
  CHECK(cut(split("-", "MergedWithNext"), "a--b-") == Texts{"a", "-", "-b", "-"});
  CHECK(cut(split("-", "Contiguous"), "a--b-") == Texts{"a", "--", "b", "-"});
  CHECK(cut(split("[a-z]+", "Removed", true), "ab, c") == Texts{"ab", "c"});
}

TEST_CASE("pre-tokenizers cut text into words") {
  CHECK(cut({{"type", "Digits"}, {"individual_digits", true}}, "a12") == Texts{"a", "1", "2"});
  CHECK(cut({{"type", "Digits"}, {"individual_digits", false}}, "a12") == Texts{"a", "12"});
  CHECK(cut({{"type", "Punctuation"}, {"behavior", "Isolated"}}, "a,b") == Texts{"a", ",", "b"});
  CHECK(cut({{"type", "Whitespace"}}, "I'm  ok") == Texts{"I", "'", "m", "ok"});
  CHECK(cut({{"type", "WhitespaceSplit"}}, " I'm\u00a0ok") == Texts{"I'm", "ok"});
  const json bytes = {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", true}};
  CHECK(cut(bytes, "a  b's") == Texts{" a", " ", " b", "'s"});
  const auto metaspace = [](const char* scheme, bool splits) {
    return json{
        {"type", "Metaspace"}, {"replacement", "▁"}, {"prepend_scheme", scheme}, {"split", splits}};
  };
  CHECK(cut(metaspace("always", true), "a b") == Texts{"▁a", "▁b"});
  CHECK(cut(metaspace("first", false), " a b") == Texts{"▁a▁b"});
  CHECK(cut(metaspace("never", true), "a  b") == Texts{"a", "▁", "▁b"});
}

TEST_CASE("the merge of the lowest rank comes first, the leftmost of several") {
  CHECK(*bpe(abc(), "abc") == Ids{5});  // bc before ab, then a bc
  CHECK(*bpe(abc(), "abab") == Ids{3, 3});
  CHECK(*bpe(abc(), "aabcc") == Ids{0, 5, 2});
  // More symbols than a scan of all is used for.
  std::string text;
  Ids ids;
  for (int i = 0; i < 50; ++i) text += "abcab", ids.insert(ids.end(), {5, 3});
  CHECK(*bpe(abc(), text) == ids);
}

TEST_CASE("ignore_merges takes a whole word from the vocabulary though no merge makes it") {
  json model = abc();
  model["vocab"]["cab"] = 7;
  CHECK(*bpe(model, "cab") == Ids{2, 3});
  model["ignore_merges"] = true;
  CHECK(*bpe(model, "cab") == Ids{7});
  CHECK(*bpe(model, "cabc") == Ids{2, 5});
}

TEST_CASE("what a vocabulary does not have is spelled in bytes, or unknown, or refused") {
  json model = abc();
  CHECK(bpe(model, "axb").error().message == "the vocabulary cannot spell \"x\"");
  model["unk_token"] = "<unk>";
  CHECK(*bpe(model, "axyb") == Ids{0, 6, 6, 1});
  model["fuse_unk"] = true;
  CHECK(*bpe(model, "axyb") == Ids{0, 6, 1});
  model["byte_fallback"] = true;
  model["vocab"]["<0x78>"] = 7;
  CHECK(*bpe(model, "axb") == Ids{0, 7, 1});
  CHECK(*bpe(model, "yxb") == Ids{7, 6, 1});  // the package puts the unknown token behind the bytes
}

TEST_CASE("byte-level words are looked up by bytes, whatever spells them") {
  const json model = {{"vocab", {{"Ġ", 0}, {"Ã", 1}, {"©", 2}, {"Ã©", 3}, {"ĠÃ©", 4}}},
                      {"merges", {"Ã ©", "Ġ Ã©"}}};
  CHECK(*bpe(model, " é", true) == Ids{4});
  CHECK(*bpe(model, "\xc3 ", true) == Ids{1, 0});
}

TEST_CASE("the most likely tokens are taken, and unknown characters side by side are one") {
  const json model =
      json::parse(R"({"unk_id": 0, "vocab": [["<unk>", 0], ["a", 0], ["b", 0], ["c", 0], ["d", 0],
                                     ["cd", 1], ["ab", 2], ["abc", 5], ["abcd", 10]]})");
  CHECK(unigram(model, "abcdacdxx") == Ids{8, 1, 5, 0});
  json bytes = model;
  bytes["byte_fallback"] = true;
  bytes["vocab"].push_back(json::array({"<0x78>", 0.0}));
  CHECK(unigram(bytes, "axx") == Ids{1, 9, 9});
  CHECK(unigram(bytes, "axy") == Ids{1, 0});
}

TEST_CASE("added tokens take blanks along, stand alone, and are the longest at their place") {
  const auto token = [](int id, const char* content, const char* option = "") {
    json t = {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
              {"rstrip", false}, {"normalized", false}, {"special", false}};
    if (*option != '\0') t[option] = true;
    return t;
  };
  const json made = {
      {"model", {{"vocab", {{"a", 0}}}}},
      {"added_tokens",
       {token(1, "<l>", "lstrip"), token(2, "<r>", "rstrip"), token(3, "in", "single_word"),
        token(4, "<<"), token(5, "<<<"), token(6, "É", "normalized")}}};
  const json file = from_file(made);
  const Fields fields(file, "f");
  const auto vocabulary = Vocabulary::read_map(fields.part("model"));
  const json nfd = {{"type", "NFD"}};
  const auto normalizer = Normalizer::read(Fields(nfd, "n"));
  const auto added = AddedTokens::read(fields, *vocabulary, *normalizer);
  INFO((added.ok() ? "" : added.error().message));
  REQUIRE(added.ok());
  const auto split = [&](const std::string& text) {
    std::vector<Piece> pieces;
    std::deque<std::string> texts;
    REQUIRE(added->split(text, *normalizer, pieces, texts).ok());
    Texts out;
    for (const Piece& p : pieces) {
      out.push_back(p.added_id < 0 ? std::string(p.text) : "#" + std::to_string(p.added_id));
    }
    return out;
  };
  CHECK(split("x \n<l> y") == Texts{"x", "#1", " y"});
  CHECK(split("x <r>\t y") == Texts{"x ", "#2", "y"});
  CHECK(split("in inside, in") == Texts{"#3", " inside, ", "#3"});
  CHECK(split("<<<<<") == Texts{"#5", "#4"});
  CHECK(split("xE\u0301y") == Texts{"x", "#6", "y"});
  CHECK(split("").empty());
}

}  // namespace tracewise::tok
