// Logits of folders that transformers saved (scripts/make_golden_model.py).
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <catch2/catch.hpp>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>

#include "model/kv_cache.hpp"
#include "model/model_folder.hpp"

using namespace tracewise;

namespace {

const char* const kModels[] = {"llama",        "llama_tied",   "qwen2",        "qwen3",
                               "mistral",      "qwen2_window", "llama_linear", "llama_dynamic",
                               "llama3",       "qwen3_yarn",   "llama_yarn",   "llama_fp16",
                               "llama_sharded"};

struct Golden {
  ModelConfig config;
  std::unique_ptr<Decoder> decoder;  // in fp32
  nlohmann::json values;
};

Golden load_golden(const std::string& name) {
  const auto dir = std::filesystem::path(TRACEWISE_TEST_DATA) / "models" / name;
  auto folder = load_model_weights(dir);
  INFO(name << ": " << (folder.ok() ? "" : folder.error().message));
  REQUIRE(folder.ok());
  Golden golden;
  golden.config = folder->config;
  const WeightsPtr weights = cast_weights(golden.config, folder->weights, "F32");
  golden.config.dtype = "F32";
  golden.decoder = std::make_unique<Decoder>(golden.config, Decoder::Mode::kInference, at::kCPU);
  REQUIRE(golden.decoder->load(weights).ok());
  golden.values = nlohmann::json::parse(std::ifstream(dir / "golden.json"));
  return golden;
}

// The tokens after `prompt`, one by one with a cache.
std::vector<int64_t> greedy(const Golden& golden, std::vector<int64_t> step, size_t count) {
  constexpr int64_t kBlock = 16;
  const auto all = static_cast<int64_t>(step.size() + count);
  const int64_t blocks = (all + kBlock - 1) / kBlock;
  KvCache cache(golden.config, blocks, kBlock, at::kCPU);
  std::vector<int32_t> table(static_cast<size_t>(blocks));
  std::iota(table.rbegin(), table.rend(), 0);
  std::vector<int64_t> tokens;
  for (int64_t context = 0; tokens.size() < count;) {
    const auto n = static_cast<int64_t>(step.size());
    PagedAttention attention(cache, {{table, context, n}});
    const at::Tensor hidden = golden.decoder->hidden(
        at::tensor(step, at::kLong), at::arange(context, context + n, at::kLong), attention);
    tokens.push_back(golden.decoder->logits(hidden)[n - 1].argmax().item<int64_t>());
    context += n;
    step = {tokens.back()};
  }
  return tokens;
}

}  // namespace

TEST_CASE("logits of each family and scaling equal transformers' to 1e-4") {
  c10::NoGradGuard no_gradient;
  for (const char* name : kModels) {
    INFO(name);
    const Golden golden = load_golden(name);
    for (size_t s = 0; s < golden.values["tokens"].size(); ++s) {
      const auto tokens = golden.values["tokens"][s].get<std::vector<int64_t>>();
      const auto n = static_cast<int64_t>(tokens.size());
      PackedAttention attention({0, n});
      const at::Tensor logits = golden.decoder->logits(golden.decoder->hidden(
          at::tensor(tokens, at::kLong), at::arange(n, at::kLong), attention));
      for (int64_t t = 0; t < n; ++t)
        for (int64_t v = 0; v < golden.config.vocab_size; ++v)
          REQUIRE(logits[t][v].item<double>() ==
                  Approx(golden.values["logits"][s][t][v].get<double>()).margin(1e-4));
    }
  }
}

TEST_CASE("64 greedy tokens of each family and scaling are transformers'") {
  c10::NoGradGuard no_gradient;
  for (const char* name : kModels) {
    INFO(name);
    const Golden golden = load_golden(name);
    const auto expected = golden.values["greedy"].get<std::vector<int64_t>>();
    REQUIRE(expected.size() == 64);
    CHECK(greedy(golden, golden.values["prompt"].get<std::vector<int64_t>>(), 64) == expected);
  }
}

TEST_CASE("a bf16 model computes in bf16 and stays near its fp32 logits") {
  c10::NoGradGuard no_gradient;
  const auto dir = std::filesystem::path(TRACEWISE_TEST_DATA) / "models" / "llama_tied";
  auto folder = load_model_weights(dir);
  REQUIRE(folder.ok());
  REQUIRE(folder->config.dtype == "BF16");
  Decoder decoder(folder->config, Decoder::Mode::kInference, at::kCPU);
  REQUIRE(decoder.load(folder->weights).ok());
  CHECK(decoder.flat().scalar_type() == at::kBFloat16);
  const auto golden = nlohmann::json::parse(std::ifstream(dir / "golden.json"));
  const auto tokens = golden["tokens"][0].get<std::vector<int64_t>>();
  const auto n = static_cast<int64_t>(tokens.size());
  PackedAttention attention({0, n});
  const at::Tensor logits = decoder.logits(
      decoder.hidden(at::tensor(tokens, at::kLong), at::arange(n, at::kLong), attention));
  CHECK(logits.scalar_type() == at::kFloat);
  double largest = 0, scale = 0;
  for (int64_t t = 0; t < n; ++t)
    for (int64_t v = 0; v < folder->config.vocab_size; ++v) {
      const double want = golden["logits"][0][t][v];
      largest = std::max(largest, std::abs(logits[t][v].item<double>() - want));
      scale = std::max(scale, std::abs(want));
    }
  CHECK(largest < 0.05 * scale);
}
