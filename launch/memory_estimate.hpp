// How much memory a process will need, before anything is loaded.
#pragma once

#include <cstdint>

#include "launch/config.hpp"
#include "model/model_config.hpp"

namespace tracewise {

// In bytes; docs/cluster.md has the formulas of the first three, docs/memory.md those of the
// others.
struct MemoryEstimate {
  int64_t weights = 0;    // the model folder's, and a generator's two versions
  int64_t kv_cache = 0;   // of all generators; with engine.kv_blocks = 0 at most this
  int64_t optimizer = 0;  // a rank's: weights, gradient, its share of fp32 master copy and moments
  int64_t activations = 0;  // of a training pass, by estimate_training() alone
  int64_t program = 0;      // the program and its libraries, by estimate_training() alone
  int64_t total() const { return weights + kv_cache + optimizer + activations + program; }
};

// The model of config.model.dir in the dtype that it computes in, with config.lora's adapter. kIo
// or kBadInput names the file.
[[nodiscard]] Result<ModelConfig> read_run_model(const Config& config);

// Of one checkpoint on the disk.
int64_t checkpoint_bytes(const ModelConfig& model);

// Of a node, without activations and what libraries take for themselves.
MemoryEstimate estimate_memory(const Config& config, const ModelConfig& model, const Seats& seats,
                               bool head);

// Of a run in one process on the CPU at its peak, if responses get as long as they may.
// `longest_prompt` is in tokens. Python processes are not in it.
MemoryEstimate estimate_training(const Config& config, const ModelConfig& model,
                                 int64_t longest_prompt);

}  // namespace tracewise
