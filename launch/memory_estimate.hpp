// How much memory a node's process will need, before anything is loaded. Activations and what
// libraries take for themselves are not in it.
#pragma once

#include <cstdint>

#include "launch/config.hpp"
#include "model/model_config.hpp"

namespace tracewise {

// In bytes; docs/cluster.md has the formulas.
struct MemoryEstimate {
  int64_t weights = 0;    // the model folder's, and a generator's two versions
  int64_t kv_cache = 0;   // of all generators; with engine.kv_blocks = 0 at most this
  int64_t optimizer = 0;  // a rank's: weights, gradient, its share of fp32 master copy and moments
  int64_t total() const { return weights + kv_cache + optimizer; }
};

// The model of config.model.dir in the dtype that it computes in, with config.lora's adapter. kIo
// or kBadInput names the file.
[[nodiscard]] Result<ModelConfig> read_run_model(const Config& config);

// Of one checkpoint on the disk.
int64_t checkpoint_bytes(const ModelConfig& model);

MemoryEstimate estimate_memory(const Config& config, const ModelConfig& model, const Seats& seats,
                               bool head);

}  // namespace tracewise
