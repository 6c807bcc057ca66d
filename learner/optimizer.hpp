// AdamW on the flat parameter buffer, with gradient clipping and a learning-rate schedule.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <string>
#include <vector>

#include "learner/rank_group.hpp"
#include "learner/trainer.hpp"
#include "model/decoder.hpp"

namespace tracewise {

// Learning rate of optimizer step `step` (from 0) at `progress` in [0, 1] of the run: linear
// warm-up over warmup_steps times the schedule, which ends at final_lr_ratio.
double learning_rate(const OptimizerOptions& options, int64_t step, double progress);

// A rank's part of the flat buffers: `elements` / `size` of them each, the rest to the last rank.
struct Shard {
  int64_t begin = 0, count = 0;
};
Shard shard_of(int64_t elements, int rank, int size);

// Of what the decoder trains: all parameters, or an adapter's.
//
// Decoupled weight decay (Loshchilov and Hutter 2019). Moments and, for bf16 models, the master
// weights are fp32. With several ranks each keeps those of its shard alone (ZeRO stage 1, arXiv
// 1910.02054); what is marked collective every rank calls at the same time.
class Optimizer {
 public:
  // Both outlive this. `ranks` may be null: then there is one.
  Optimizer(const OptimizerOptions& options, Decoder& decoder, RankGroup* ranks);

  void zero_gradient();

  // Of the whole gradient. Not finite where an element is not.
  double gradient_norm() const;

  // Clips by the gradient's norm, updates the decoder's parameters in place, and counts the step.
  // Collective. Returns the learning rate.
  Result<double> update(double progress, double gradient_norm);

  int64_t steps() const { return steps_; }

  // Master weights (bf16 models only), moments and the step count as safetensors, which rank 0
  // writes: the same file for any number of ranks. Collective.
  Result<void> save(const std::filesystem::path& file) const;
  // Rank 0 reads the file; the others' path means nothing. Collective; fails on all ranks or none.
  Result<void> load(const std::filesystem::path& file);

  // Takes the decoder's parameters over as master weights, after they were loaded.
  void weights_changed();

 private:
  struct State {
    const char* name;
    at::Tensor shard;  // [shard_.count] fp32
  };

  void update_slice(int64_t begin, int64_t count, double lr, double scale);
  bool own_master() const;
  std::vector<State> states() const;  // what a file holds
  int64_t elements() const { return decoder_.flat().numel(); }
  std::string next_update() const { return "update " + std::to_string(steps_ + 1); }

  Result<at::Tensor> gather(const at::Tensor& shard, const std::string& of) const;
  Result<void> scatter(const at::Tensor& whole, at::Tensor shard, const std::string& of);
  Result<void> share_parameters(const std::string& of);

  OptimizerOptions options_;
  Decoder& decoder_;
  RankGroup* ranks_;
  Shard shard_;
  at::Tensor master_;         // [shard_.count] fp32; the decoder's own buffer for fp32 models
  at::Tensor mean_, square_;  // [shard_.count] fp32
  int64_t steps_ = 0;
};

}  // namespace tracewise
