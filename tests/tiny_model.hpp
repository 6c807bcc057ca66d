// A small random decoder for tests of the engine and the learner.
#pragma once

#include <algorithm>
#include <cstring>
#include <random>

#include "model/model_config.hpp"
#include "model/weights.hpp"

namespace tracewise::testing {

inline ModelConfig tiny_model() {
  ModelConfig config;
  config.vocab_size = 29;
  config.width = 32;
  config.layers = 2;
  config.heads = 4;
  config.kv_heads = 2;
  config.head_dim = 12;
  config.mlp_width = 40;
  config.max_context = 128;
  return config;
}

// Normal weights of standard deviation `scale`, norms around 1; of bf16 the upper halves of such.
inline WeightsPtr random_weights(const ModelConfig& config, uint32_t seed, uint64_t version = 0,
                                 float scale = 0.3f) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0, scale);
  WeightsManifest manifest = weights_layout(config);
  auto bytes = allocate_weights(manifest.bytes);
  std::fill(bytes.get(), bytes.get() + manifest.bytes, std::byte{0});
  for (const TensorEntry& entry : manifest.tensors) {
    std::byte* to = bytes.get() + entry.offset;
    const bool norm = entry.name.find("norm") != std::string::npos;
    const uint64_t size = config.dtype == "F32" ? 4 : 2;
    for (uint64_t i = 0; i < entry.bytes / size; ++i, to += size) {
      const float x = normal(generator) + (norm ? 1.0f : 0.0f);
      std::memcpy(to, reinterpret_cast<const std::byte*>(&x) + 4 - size, size);
    }
  }
  manifest.version = version;
  manifest.checksum = weights_checksum({bytes.get(), manifest.bytes});
  return std::make_shared<Weights>(manifest, bytes);
}

inline std::vector<int32_t> random_tokens(int64_t n, uint32_t seed, int32_t vocab = 29) {
  std::mt19937 generator(seed);
  std::vector<int32_t> tokens(n);
  for (int32_t& t : tokens) t = static_cast<int32_t>(generator() % static_cast<uint32_t>(vocab));
  return tokens;
}

}  // namespace tracewise::testing
