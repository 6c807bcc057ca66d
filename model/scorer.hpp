// Log-probabilities of given token ids, without a word of Torch.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "messages/result.hpp"
#include "model/model_config.hpp"
#include "model/weights.hpp"

namespace tracewise {

struct ScorerOptions {
  std::string device = "cpu";       // "cpu" or "cuda:N"
  int threads = 1;                  // compute threads, >= 1
  int64_t max_batch_tokens = 4096;  // of one packed pass; a longer sequence has a pass of its own
};

// Not thread-safe: one thread owns a scorer and calls everything, also make_scorer().
class Scorer {
 public:
  virtual ~Scorer() = default;

  // For each sequence, the log-probability of tokens[1..] at temperature 1, in nats; one fewer than
  // its tokens. Every sequence has 1..max_context ids of the vocabulary. kInternal if the library
  // below fails.
  virtual Result<std::vector<std::vector<float>>> score(
      std::span<const std::vector<int32_t>> sequences) = 0;
};

// Computes in config.dtype; log-probabilities are fp32. kBadInput or kUnsupported for the device,
// kBadInput if `weights` are another model's, kResource without memory.
Result<std::unique_ptr<Scorer>> make_scorer(const ModelConfig& config, const WeightsPtr& weights,
                                            const ScorerOptions& options);

}  // namespace tracewise
