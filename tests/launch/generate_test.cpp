#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>
#include <sstream>

#include "rollout/engine.hpp"
#include "tests/launch/tiny_demo.hpp"
#include "tests/process.hpp"

namespace tracewise {
namespace {

using namespace testing;
using nlohmann::json;

const std::string kPrompt = "3+8*2,4*7-1=\n";

std::vector<json> lines_of(const std::string& text) {
  std::vector<json> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(json::parse(line));
  return lines;
}

}  // namespace

TEST_CASE("generate writes the samples' text one after the other, as --json has it") {
  const TinyDemo demo;
  const std::vector<std::string> more{"--samples", "3", "--max-new-tokens", "30", kPrompt};
  const Finished text = run_tracewise(demo.words("generate", more));
  CHECK(text.err.empty());
  REQUIRE(text.exit_code == 0);
  auto with_json = more;
  with_json.push_back("--json");
  const auto lines = lines_of(run_tracewise(demo.words("generate", with_json)).out);
  REQUIRE(lines.size() == 3);
  std::string want;
  for (size_t s = 0; s < 3; ++s) {
    CHECK(lines[s]["prompt"] == kPrompt);
    CHECK(lines[s]["sample"] == s);
    CHECK(lines[s]["tokens"].size() <= 30);
    CHECK(lines[s]["logprobs"].size() == lines[s]["tokens"].size());
    CHECK(lines[s]["finish"] == (lines[s]["tokens"].back() == 2 ? "stop" : "length"));
    want += std::string(s > 0 ? "\n" : "") + "== sample " + std::to_string(s + 1) + " of 3 ==\n" +
            lines[s]["text"].get<std::string>() + "\n";
  }
  CHECK(lines[0]["tokens"] != lines[1]["tokens"]);
  CHECK(text.out == want);
}

TEST_CASE("generate samples what the engine samples for group 0 of the seed") {
  const TinyDemo demo;
  const Config config = demo.config({"sampling.max_new_tokens=20", "sampling.top_k=9"});
  const auto engine = must(make_engine(engine_options(config, demo.model.config), demo.model.config,
                                       demo.model.weights, nullptr));
  GroupTask task;
  task.samples = 2;
  task.sampling = config.run.sampling;
  task.prompt = prompt_of(demo.model, kPrompt, "27");
  engine->submit(task);
  std::map<uint32_t, std::vector<int32_t>> want;
  while (want.size() < 2)
    for (const Rollout& r : engine->step({}).rollouts) want[r.sample] = r.tokens;

  const Finished finished = run_tracewise(demo.words(
      "generate", {"--json", "--samples", "2", "--top-k", "9", "--max-new-tokens", "20", kPrompt}));
  const auto lines = lines_of(finished.out);
  REQUIRE(lines.size() == 2);
  for (uint32_t s = 0; s < 2; ++s) CHECK(lines[s]["tokens"] == json(want[s]));
}

TEST_CASE("generate takes the prompt from standard input when there is none on the line") {
  const TinyDemo demo;
  const auto words = demo.words("generate", {"--temperature", "0", "--max-new-tokens", "12"});
  auto with_prompt = words;
  with_prompt.push_back(kPrompt);
  const Finished argument = run_tracewise(with_prompt);
  CHECK(argument.exit_code == 0);
  CHECK_FALSE(argument.out.empty());
  CHECK(run_tracewise(words, kPrompt).out == argument.out);
}

TEST_CASE("generate's options override --set, wherever they stand") {
  const TinyDemo demo;
  const Finished finished =
      run_tracewise(demo.words("generate", {"--json", "--max-new-tokens", "3", "--set",
                                            "sampling.max_new_tokens=40", kPrompt}));
  REQUIRE(finished.exit_code == 0);
  CHECK(lines_of(finished.out).at(0)["tokens"].size() <= 3);
}

TEST_CASE("generate refuses what it cannot sample from with exit code 2 and one sentence") {
  const TinyDemo demo;
  const auto error = [&](const std::vector<std::string>& more) {
    const Finished finished = run_tracewise(demo.words("generate", more));
    CHECK(finished.exit_code == 2);
    CHECK(finished.out.empty());
    return finished.err;
  };
  CHECK(error({"hello"}) ==
        "tracewise: the vocabulary has no symbol for \"hello\" at byte 0 of the text\n");
  CHECK(error({std::string(200, '7')}) ==
        "tracewise: the prompt has 201 tokens, which leaves no room in the model's context of "
        "192\n");
  CHECK_THAT(error({"--temperature", "-1", kPrompt}),
             Catch::Contains("sampling.temperature = -1: it must be a real number of at least 0"));
  CHECK_THAT(error({"--samples", "0", kPrompt}), Catch::Contains("--samples"));
  CHECK_THAT(error({"--model", "/nowhere", kPrompt}), Catch::Contains("/nowhere is not a folder"));
  const Finished none = run_tracewise({"generate", kPrompt});
  CHECK(none.exit_code == 2);
  CHECK_THAT(none.err, Catch::Contains("model.dir is not set"));
  CHECK(run_tracewise({"generate", "--help"}).exit_code == 0);
}

}  // namespace tracewise
