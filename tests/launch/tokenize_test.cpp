#include <catch2/catch.hpp>

#include "tests/process.hpp"
#include "tests/temp_dir.hpp"

namespace tracewise {
namespace {

const std::string kFolder = TRACEWISE_TEST_DATA "/tokenizer/marks";

Finished tokenize(const std::string& input, std::vector<std::string> flags = {}) {
  flags.insert(flags.begin(), {"tokenize", "--model", kFolder});
  return run_tracewise(flags, input);
}

}  // namespace

// 1 is <s>, 13 is <0x0A>; "▁the" and "▁cat" are merged from characters.
TEST_CASE("tokenize turns lines of text into lines of ids and back") {
  const Finished out = tokenize("{\"text\": \"the cat\\n\"}\n\n{\"text\": \"\"}\n");
  CHECK(out.err.empty());
  CHECK(out.exit_code == 0);
  CHECK(out.out == "{\"tokens\":[1,272,275,13]}\n{\"tokens\":[1]}\n");
  CHECK(tokenize("{\"text\": \"the cat\"}\n", {"--no-special"}).out == "{\"tokens\":[272,275]}\n");
  const std::string ids = "{\"tokens\": [1, 272, 275, 13]}\n";
  CHECK(tokenize(ids, {"--decode"}).out == "{\"text\":\"<s> the cat\\n\"}\n");
  CHECK(tokenize(ids, {"--decode", "--no-special"}).out == "{\"text\":\"the cat\\n\"}\n");
}

TEST_CASE("a bad line ends tokenize with its number") {
  const auto refused = [](const std::string& line, std::vector<std::string> flags = {}) {
    const bool decodes = !flags.empty();
    const Finished out = tokenize(
        std::string(decodes ? "{\"tokens\": [1]}" : "{\"text\": \"\"}") + "\n" + line + "\n",
        flags);
    CHECK(out.exit_code == 2);
    const std::string start = "tracewise: stdin:2: ";
    REQUIRE(out.err.starts_with(start));
    return out.err.substr(start.size());
  };
  CHECK(refused("{\"text\": 3}") == "\"text\" is no string\n");
  CHECK(refused("{\"words\": \"\"}") == "\"text\" is missing\n");
  CHECK(refused("text") == "no JSON object\n");
  CHECK(refused("{\"text\": \"\xff\"}") == "no JSON object\n");
  CHECK(refused("{\"text\": \"\\ud800\"}") == "no JSON object\n");
  CHECK(refused("{\"tokens\": 3}", {"--decode"}) == "\"tokens\" is no array\n");
  CHECK(refused("{\"text\": \"\"}", {"--decode"}) == "\"tokens\" is missing\n");
  CHECK(refused("{\"tokens\": [1, 276]}", {"--decode"}) ==
        "\"tokens\"[1] is 276, but ids are whole numbers from 0 to 275\n");
  CHECK(refused("{\"tokens\": [-1]}", {"--decode"}) ==
        "\"tokens\"[0] is -1, but ids are whole numbers from 0 to 275\n");
}

TEST_CASE("tokenize needs a folder with a tokenizer") {
  const TempDir dir;
  const Finished none = run_tracewise({"tokenize", "--model", dir.path().string()});
  CHECK(none.exit_code != 0);
  CHECK_THAT(none.err, Catch::Contains("tokenizer.json"));
  CHECK(run_tracewise({"tokenize"}).exit_code == 2);
}

}  // namespace tracewise
