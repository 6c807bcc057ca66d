// Carries a planned pass out on the model: the engine's only part with tensors.
#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <vector>

#include "model/model_config.hpp"
#include "model/weights.hpp"
#include "rollout/engine.hpp"
#include "rollout/scheduler.hpp"

namespace tracewise {

// A row of a pass's logits that somebody wants.
struct WantedRow {
  Sequence* sequence = nullptr;
  int64_t row = 0;        // in the packed pass
  int64_t target = -1;    // index of the scored target token; -1: the row samples
  float temperature = 1;  // of the row's own distribution, > 0
};

// The rows that sample, and those that predict a probe's target tokens.
std::vector<WantedRow> wanted_rows(const Pass& pass);

// fp32 distributions of the wanted rows, in host memory until the next pass.
struct Distributions {
  const float* policy_logprobs = nullptr;  // [R, V], untempered
  const float* probabilities = nullptr;    // [R, V], at each row's temperature
  size_t vocab = 0;
  const float* policy(size_t row) const { return policy_logprobs + row * vocab; }
  std::span<const float> sampled(size_t row) const { return {probabilities + row * vocab, vocab}; }
};

// One thread owns it, like the engine.
class ForwardPass {
 public:
  virtual ~ForwardPass() = default;
  // kBadInput: the layout is another model's.
  virtual Result<void> check(const Weights& weights) const = 0;
  // The costly part of set_weights(weights), in any thread and beside any other call; kept until
  // they are set or others are prepared. kBadInput as check().
  virtual Result<void> prepare(const WeightsPtr& weights) = 0;
  // Of checked weights.
  virtual void set_weights(const WeightsPtr& weights) = 0;
  // Copies blocks, computes the pass's tokens into the cache and returns the wanted rows.
  virtual Distributions run(const Pass& pass, std::span<const WantedRow> wanted) = 0;
};

// Bytes that this process may use: the machine's, or its container's where a cgroup sets fewer.
int64_t usable_memory(int64_t physical, const std::vector<std::filesystem::path>& limit_files);

// Fills in what EngineOptions leaves at 0 (automatic): kv_blocks, max_batch_tokens.
EngineOptions sized(EngineOptions options, const ModelConfig& model);

// Fails with kUnsupported (device) or kResource (no memory for options.kv_blocks).
Result<std::unique_ptr<ForwardPass>> make_forward_pass(const EngineOptions& options,
                                                       const ModelConfig& model);

}  // namespace tracewise
