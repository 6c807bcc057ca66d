// What a tokenizer.json may hold that is refused, by name and place.
#include <catch2/catch.hpp>
#include <functional>
#include <nlohmann/json.hpp>

#include "model/tokenizer.hpp"
#include "tests/temp_dir.hpp"

namespace tracewise {
namespace {

using nlohmann::json;

json small() {
  return {
      {"version", "1.0"},
      {"truncation", nullptr},
      {"padding", nullptr},
      {"added_tokens", json::array()},
      {"normalizer", {{"type", "NFC"}}},
      {"pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", {{{"type", "WhitespaceSplit"}}}}}},
      {"post_processor", nullptr},
      {"decoder", {{"type", "Fuse"}}},
      {"model",
       {{"type", "BPE"}, {"vocab", {{"a", 0}, {"b", 1}, {"ab", 2}}}, {"merges", {"a b"}}}}};
}

json added(int id, const std::string& content) {
  return {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", true}};
}

// The message behind the file's name; the class is checked.
std::string error_of(ErrorClass error_class, const std::function<void(json&)>& change) {
  const TempDir dir;
  json object = small();
  change(object);
  const auto loaded = load_tokenizer(dir.put("tokenizer.json", object.dump()));
  REQUIRE_FALSE(loaded.ok());
  CHECK(loaded.error().error_class == error_class);
  const std::string& message = loaded.error().message;
  const std::string file = "/tokenizer.json: ";
  REQUIRE(message.find(file) != std::string::npos);
  return message.substr(message.find(file) + file.size());
}
std::string refusal(const std::function<void(json&)>& change) {
  return error_of(ErrorClass::kUnsupported, change);
}
std::string mistake(const std::function<void(json&)>& change) {
  return error_of(ErrorClass::kBadInput, change);
}

}  // namespace

TEST_CASE("the small tokenizer that the others are changes of is read") {
  const TempDir dir;
  const auto loaded = load_tokenizer(dir.put("tokenizer.json", small().dump()));
  REQUIRE(loaded.ok());
  CHECK(*(*loaded)->encode("ab a", true) == std::vector<int32_t>{2, 0});
}

TEST_CASE("parts that are not supported are refused by name and place") {
  CHECK(refusal([](json& o) { o["model"]["type"] = "WordPiece"; }) ==
        "model: a model of type \"WordPiece\" is not supported");
  CHECK(refusal([](json& o) { o["normalizer"]["type"] = "BertNormalizer"; }) ==
        "normalizer: a normalizer of type \"BertNormalizer\" is not supported");
  CHECK(refusal([](json& o) {
          o["pre_tokenizer"]["pretokenizers"].push_back({{"type", "UnicodeScripts"}});
        }) ==
        "pre_tokenizer.pretokenizers[1]: a pre_tokenizer of type \"UnicodeScripts\" is not "
        "supported");
  CHECK(refusal([](json& o) {
          o["post_processor"] = {{"type", "RobertaProcessing"}};
        }) == "post_processor: a post_processor of type \"RobertaProcessing\" is not supported");
  CHECK(refusal([](json& o) { o["decoder"]["type"] = "CTC"; }) ==
        "decoder: a decoder of type \"CTC\" is not supported");
  CHECK(refusal([](json& o) {
          o["truncation"] = {{"max_length", 5}};
        }) == "truncation: it is not supported");
  CHECK(refusal([](json& o) { o["version"] = "2.0"; }) == "version \"2.0\" is not supported");
}

TEST_CASE("options that are not supported are refused by name and place") {
  CHECK(refusal([](json& o) { o["model"]["dropout"] = 0.1; }) ==
        "model: \"dropout\" is not supported");
  CHECK(refusal([](json& o) { o["model"]["end_of_word_suffix"] = "</w>"; }) ==
        "model: \"end_of_word_suffix\" is not supported");
  CHECK(refusal([](json& o) { o["model"]["novelty"] = true; }) ==
        "model: \"novelty\" is not supported");
  CHECK(refusal([](json& o) { o["normalizer"]["novelty"] = true; }) ==
        "normalizer: \"novelty\" is not supported");
  CHECK(refusal([](json& o) {
          o["pre_tokenizer"]["pretokenizers"].push_back(
              {{"type", "Metaspace"}, {"replacement", "_"}, {"prepend_scheme", "first"}});
        }) ==
        "pre_tokenizer.pretokenizers[1]: the prepend_scheme \"first\" behind another pre_tokenizer "
        "is not "
        "supported");
  CHECK(
      refusal([](json& o) {
        o["normalizer"] = {{"type", "Replace"}, {"pattern", {{"Regex", "\\bx"}}}, {"content", ""}};
      }) ==
      "normalizer.pattern: the regular expression \"\\bx\" is not supported because of \\b in it");
}

TEST_CASE("what contradicts itself is bad input, by name and place") {
  CHECK(mistake([](json& o) { o["model"]["vocab"]["b"] = 0; }) ==
        "model.vocab: \"a\" and \"b\" have the same id 0");
  CHECK(mistake([](json& o) { o["model"]["vocab"] = json::object(); }) ==
        "model.vocab: no object with tokens");
  CHECK(mistake([](json& o) { o["model"]["merges"] = {"b a"}; }) ==
        "model: merges[0] of \"b\" and \"a\" is not all in vocab");
  CHECK(mistake([](json& o) { o["model"]["merges"] = {"a b c"}; }) ==
        "model: merges[0] has not one blank: \"a b c\"");
  CHECK(mistake([](json& o) { o["model"]["unk_token"] = "?"; }) ==
        "model: the unk_token \"?\" is not in vocab");
  CHECK(mistake([](json& o) { o["added_tokens"] = {added(7, "<s>")}; }) ==
        "added_tokens[0]: \"<s>\" has id 7, but would get 3 behind the vocabulary and the tokens "
        "before it");
  CHECK(mistake([](json& o) {
          o["added_tokens"] = {added(3, "<s>"), added(4, "<s>")};
        }).starts_with("added_tokens[1]: \"<s>\""));
  CHECK(mistake([](json& o) {
          o["normalizer"] = {{"type", "Precompiled"}, {"precompiled_charsmap", "AAAA"}};
        }) == "normalizer: the table of replacements is cut off");
  CHECK(mistake([](json& o) { o.erase("model"); }) ==
        "model: an object with a \"type\" is expected");
}

TEST_CASE("added tokens count on behind the vocabulary") {
  const TempDir dir;
  json object = small();
  object["added_tokens"] = {added(3, "<s>"), added(1, "b"), added(4, "</s>")};
  const auto loaded = load_tokenizer(dir.put("tokenizer.json", object.dump()));
  INFO((loaded.ok() ? "" : loaded.error().message));
  REQUIRE(loaded.ok());
  CHECK((*loaded)->vocab_size() == 5);
  CHECK((*loaded)->find("</s>") == 4);
  CHECK((*loaded)->is_special(1));
  CHECK(*(*loaded)->encode("ab</s>", false) ==
        std::vector<int32_t>{0, 1, 4});  // b is cut out before a b merges
}

}  // namespace tracewise
