// Logits of folders that transformers saved (scripts/make_golden_model.py).
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <catch2/catch.hpp>
#include <fstream>
#include <nlohmann/json.hpp>

#include "model/logprobs.hpp"
#include "model/model_folder.hpp"

using namespace tracewise;

TEST_CASE("logits of each family equal transformers' to 1e-4") {
  c10::NoGradGuard no_gradient;
  for (const char* name : {"llama", "llama_tied", "qwen2", "qwen3"}) {
    INFO(name);
    const auto dir = std::filesystem::path(TRACEWISE_TEST_DATA) / "models" / name;
    auto folder = load_model_weights(dir);
    REQUIRE(folder.ok());
    ModelConfig config = folder->config;
    const WeightsPtr weights = cast_weights(config, folder->weights, "F32");
    config.dtype = "F32";
    Decoder decoder(config, Decoder::Mode::kInference, at::kCPU);
    REQUIRE(decoder.load(weights).ok());
    const auto golden = nlohmann::json::parse(std::ifstream(dir / "golden.json"));
    for (size_t s = 0; s < golden["tokens"].size(); ++s) {
      const auto tokens = golden["tokens"][s].get<std::vector<int64_t>>();
      const auto n = static_cast<int64_t>(tokens.size());
      PackedAttention attention({0, n});
      const at::Tensor logits = decoder.logits(
          decoder.hidden(at::tensor(tokens, at::kLong), at::arange(n, at::kLong), attention));
      for (int64_t t = 0; t < n; ++t)
        for (int64_t v = 0; v < config.vocab_size; ++v)
          REQUIRE(logits[t][v].item<double>() ==
                  Approx(golden["logits"][s][t][v].get<double>()).margin(1e-4));
    }
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
