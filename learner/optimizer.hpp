// AdamW on the flat parameter buffer, with gradient clipping and a learning-rate schedule.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>

#include "learner/trainer.hpp"
#include "model/decoder.hpp"

namespace tracewise {

// Learning rate of optimizer step `step` (from 0) at `progress` in [0, 1] of the run: linear
// warm-up over warmup_steps times the schedule, which ends at final_lr_ratio.
double learning_rate(const OptimizerOptions& options, int64_t step, double progress);

struct UpdateOutcome {
  bool applied = false;  // false: the gradient was not finite, nothing changed
  double grad_norm = 0;  // before clipping
  double lr = 0;
};

// Decoupled weight decay (Loshchilov and Hutter 2019). Moments and, for bf16 models, the master
// weights are fp32.
class Optimizer {
 public:
  Optimizer(const OptimizerOptions& options, Decoder& decoder);

  void zero_gradient();
  // Clips, updates the decoder's parameters in place, and counts the step.
  UpdateOutcome update(double progress);

  int64_t steps() const { return steps_; }

  // Master weights (bf16 models only), moments and the step count as safetensors.
  Result<void> save(const std::filesystem::path& file) const;
  Result<void> load(const std::filesystem::path& file);

  // Takes the decoder's parameters over as master weights, after they were loaded.
  void weights_changed();

 private:
  OptimizerOptions options_;
  Decoder& decoder_;                     // outlives this; owned by the trainer
  at::Tensor master_;                    // [flat] fp32; the decoder's own buffer for fp32 models
  at::Tensor gradient_, mean_, square_;  // [flat] fp32
  int64_t steps_ = 0;
};

}  // namespace tracewise
