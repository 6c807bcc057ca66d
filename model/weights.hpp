// One immutable version of a model's weights: a flat buffer and its manifest.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "messages/records.hpp"

namespace tracewise {

struct ModelConfig;
struct ParameterSpec;

// Made by the learner once a version (learner/trainer) or read from a model folder
// (model/model_folder). Any thread may read it.
class Weights {
 public:
  // `bytes` is 64-byte aligned storage of manifest.bytes bytes. `base`: see base().
  Weights(WeightsManifest manifest, std::shared_ptr<const std::byte[]> bytes,
          std::shared_ptr<const Weights> base = nullptr)
      : manifest_(std::move(manifest)), bytes_(std::move(bytes)), base_(std::move(base)) {}

  const WeightsManifest& manifest() const { return manifest_; }
  uint64_t version() const { return manifest_.version; }
  std::span<const std::byte> bytes() const { return {bytes_.get(), manifest_.bytes}; }
  // The buffer itself, for a transport that hands it on without a copy.
  const std::shared_ptr<const std::byte[]>& storage() const { return bytes_; }
  // Of an adapter's version: the whole weights that it is added to, shared by all versions. Null of
  // whole weights, and of an adapter that was received alone.
  const std::shared_ptr<const Weights>& base() const { return base_; }

 private:
  WeightsManifest manifest_;
  std::shared_ptr<const std::byte[]> bytes_;
  std::shared_ptr<const Weights> base_;
};

// Shared by the learner, which made it, and every generator that still samples with it.
using WeightsPtr = std::shared_ptr<const Weights>;

// The layout of whole weights of a model, without an adapter: entries in parameter_specs order,
// offsets multiples of 64, dtype config.dtype. Version, epoch and checksum are 0. Bytes between
// tensors must be 0, so that equal weights have equal checksums.
WeightsManifest weights_layout(const ModelConfig& config);

// The same of any parameters in `dtype`, "F32" or "BF16".
WeightsManifest layout_of(std::vector<ParameterSpec> specs, const std::string& dtype);

// The same version in another dtype ("F32" or "BF16", rounded to nearest even); `weights` itself
// where it has that dtype already. `config` is the model's, in the dtype of `weights`.
WeightsPtr cast_weights(const ModelConfig& config, WeightsPtr weights, const std::string& dtype);

// Gives 64-byte aligned storage for as many bytes, not initialised.
using AllocateWeights = std::function<std::shared_ptr<std::byte[]>(uint64_t bytes)>;

// The heap's.
std::shared_ptr<std::byte[]> allocate_weights(uint64_t bytes);

// xxh3-64 of the buffer, as stored in WeightsManifest::checksum.
uint64_t weights_checksum(std::span<const std::byte> bytes);

}  // namespace tracewise
