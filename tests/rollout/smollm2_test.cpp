// SmolLM2-135M-Instruct (scripts/get_smollm2) answers as it does in transformers
// (scripts/make_golden_smollm2.py).
#include <catch2/catch.hpp>

#include <fstream>
#include <nlohmann/json.hpp>

#include "model/model_folder.hpp"
#include "tests/rollout/small_engine.hpp"

using namespace tracewise;

TEST_CASE("a real model's greedy answers are transformers', all prompts side by side") {
  auto folder = load_model_folder(TRACEWISE_SMOLLM2);
  INFO((folder.ok() ? "" : folder.error().message));
  REQUIRE(folder.ok());
  CHECK(folder->config.dtype == "BF16");
  CHECK(folder->config.eos_tokens == std::vector<int32_t>{2});
  const WeightsPtr weights = cast_weights(folder->config, folder->weights, "F32");
  folder->config.dtype = "F32";

  EngineOptions options = testing::options();
  options.stop_tokens = folder->config.eos_tokens;
  options.kv_blocks = 512;
  options.threads = 2;
  auto engine = make_engine(options, folder->config, weights, nullptr);
  REQUIRE(engine.ok());
  const auto golden =
      nlohmann::json::parse(std::ifstream(TRACEWISE_TEST_DATA "/smollm2/golden.json"));
  REQUIRE(golden.size() >= 20);
  for (size_t i = 0; i < golden.size(); ++i) {
    GroupTask task = testing::task(i, 1);
    const auto tokens = folder->tokenizer->encode(golden[i]["text"].get<std::string>(), true);
    REQUIRE(tokens.ok());
    CHECK(*tokens == golden[i]["tokens"].get<std::vector<int32_t>>());
    task.prompt.tokens = *tokens;
    task.sampling.max_new_tokens = 48;
    task.sampling.temperature = 0;
    (*engine)->submit(std::move(task));
  }
  const auto rollouts = testing::drain(**engine);
  REQUIRE(rollouts.size() == golden.size());
  for (const auto& [key, rollout] : rollouts) {
    INFO(golden[key.first]["text"]);
    CHECK(rollout.tokens == golden[key.first]["response"].get<std::vector<int32_t>>());
    CHECK(folder->tokenizer->decode(rollout.tokens, false) == golden[key.first]["response_text"]);
  }
}
