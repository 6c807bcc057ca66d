#include "rollout/data/prepared.hpp"

#include <catch2/catch.hpp>

#include "tests/temp_dir.hpp"

namespace tracewise {

TEST_CASE("prepared prompts come back as they were") {
  TempDir dir;
  const std::vector<Prompt> prompts = {
      {"row \"1\"", {0, 5}, "2", {5}, "line\nend é", "math", R"({"a":[1]})"}, {"2", {7}, "", {}}};
  REQUIRE(save_prepared(dir / "p.jsonl", prompts, "abc").ok());
  CHECK(slurp(dir / "p.jsonl").starts_with(R"({"template":"abc","prompts":2})"));
  CHECK(*load_prepared(dir / "p.jsonl") == prompts);
  REQUIRE(save_prepared(dir / "none.jsonl", {}, "").ok());
  CHECK(load_prepared(dir / "none.jsonl")->empty());
}

TEST_CASE("prepared prompts that were cut or changed are refused") {
  TempDir dir;
  const std::string head = "{\"prompts\":1,\"template\":\"\"}\n";
  const auto refusal = [&](const std::string& text) {
    const auto file = dir.put("p.jsonl", text);
    return load_prepared(file).error().message.substr(file.string().size());
  };
  CHECK(refusal(head) == ": the first line tells of other prompts than 0");
  CHECK(refusal(head + R"({"id": 3})").starts_with(":2: "));
  CHECK(refusal(head + R"({"id":"1","tokens":[-4],"gold":"","gold_tokens":[],"text":"",)" +
                R"("verifier":"","metadata":""})") ==
        ":2: Prompt.tokens: token 0 is -4, token ids are not negative");
  CHECK(load_prepared(dir / "none.jsonl").error().error_class == ErrorClass::kIo);
}

}  // namespace tracewise
