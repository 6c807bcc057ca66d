#include "model/weights.hpp"

#include <cstdlib>
#include <cstring>
#include <new>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "model/dtype.hpp"
#include "model/model_config.hpp"

namespace tracewise {

WeightsManifest weights_layout(const ModelConfig& config) {
  return layout_of(parameter_specs(config), config.dtype);
}

WeightsManifest layout_of(std::vector<ParameterSpec> specs, const std::string& dtype) {
  TW_CHECK(dtype == "F32" || dtype == "BF16", "dtype of weights: " + dtype);
  const uint64_t item_bytes = dtype == "F32" ? 4 : 2;
  WeightsManifest manifest;
  manifest.dtype = dtype;
  for (ParameterSpec& spec : specs) {
    uint64_t bytes = item_bytes;
    for (const int64_t size : spec.shape) bytes *= static_cast<uint64_t>(size);
    manifest.tensors.push_back(
        {std::move(spec.name), std::move(spec.shape), manifest.bytes, bytes});
    manifest.bytes += (bytes + 63) / 64 * 64;
  }
  return manifest;
}

std::shared_ptr<std::byte[]> allocate_weights(uint64_t bytes) {
  const uint64_t rounded = (bytes + 63) / 64 * 64;
  auto* storage = static_cast<std::byte*>(std::aligned_alloc(64, rounded == 0 ? 64 : rounded));
  if (storage == nullptr) throw std::bad_alloc();
  return {storage, [](std::byte* p) { std::free(p); }};
}

uint64_t weights_checksum(std::span<const std::byte> bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

WeightsPtr cast_weights(const ModelConfig& config, WeightsPtr weights, const std::string& dtype) {
  if (weights->manifest().dtype == dtype) return weights;
  TW_CHECK(dtype == "F32" || dtype == "BF16", "no cast to dtype " + dtype);
  ModelConfig target = config;
  target.dtype = dtype;
  WeightsManifest manifest = weights_layout(target);
  manifest.version = weights->version();
  manifest.epoch = weights->manifest().epoch;
  auto bytes = allocate_weights(manifest.bytes);
  std::memset(bytes.get(), 0, manifest.bytes);
  for (size_t i = 0; i < manifest.tensors.size(); ++i) {
    const std::byte* from = weights->bytes().data() + weights->manifest().tensors[i].offset;
    std::byte* to = bytes.get() + manifest.tensors[i].offset;
    convert_elements(weights->manifest().dtype, {from, weights->manifest().tensors[i].bytes}, dtype,
                     to);
  }
  manifest.checksum = weights_checksum({bytes.get(), manifest.bytes});
  return std::make_shared<Weights>(std::move(manifest), std::move(bytes));
}

}  // namespace tracewise
