#include "model/init.hpp"

#include <cmath>
#include <cstring>

#include "messages/random.hpp"

namespace tracewise {
namespace {

double deviation(const TensorEntry& tensor) {
  const auto named = [&](const char* part) { return tensor.name.find(part) != std::string::npos; };
  if (named("embed_tokens") || named("lm_head")) return 0.02;
  const double fan_in = 1 / std::sqrt(static_cast<double>(tensor.shape.back()));
  return named("o_proj") || named("down_proj") ? fan_in / 2 : fan_in;
}

}  // namespace

WeightsPtr initial_weights(const ModelConfig& config, uint64_t seed) {
  TW_CHECK(config.dtype == "F32", "initial weights are F32");
  WeightsManifest manifest = weights_layout(config);
  auto bytes = allocate_weights(manifest.bytes);
  std::memset(bytes.get(), 0, manifest.bytes);
  SplitMix random(seed);
  for (const TensorEntry& tensor : manifest.tensors) {
    auto* x = reinterpret_cast<float*>(bytes.get() + tensor.offset);
    const uint64_t count = tensor.bytes / sizeof(float);
    const bool norm = tensor.name.find("norm") != std::string::npos;
    if (tensor.name.ends_with(".bias")) continue;
    const double scale = norm ? 0 : deviation(tensor);
    for (uint64_t i = 0; i < count; ++i)
      x[i] = norm ? 1.0f : static_cast<float>(scale * random.normal());
  }
  manifest.checksum = weights_checksum({bytes.get(), manifest.bytes});
  return std::make_shared<Weights>(std::move(manifest), std::move(bytes));
}

}  // namespace tracewise
