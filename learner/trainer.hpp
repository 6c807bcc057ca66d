// The learner's model, loss and optimizer behind a Torch-free face.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "messages/records.hpp"
#include "model/model_config.hpp"
#include "model/weights.hpp"

namespace tracewise {

// How per-token losses become one number. N = response tokens of a micro-batch's optimizer batch.
enum class LossAggregation : uint8_t {
  kTokenMean,        // sum over all tokens / number of tokens (DAPO)
  kSequenceMean,     // mean over rollouts of each rollout's token mean (GRPO)
  kSequenceSumNorm,  // mean over rollouts of token sum / max_response_tokens (Dr.GRPO)
};

// What the probability ratio is taken of, and with it the clipping and the importance weight.
enum class LossRatio : uint8_t {
  kToken,     // of each token
  kSequence,  // of each rollout: the geometric mean of its tokens' ratios (GSPO, arXiv 2507.18071)
};

enum class LrSchedule : uint8_t { kConstant, kLinear, kCosine };

struct OptimizerOptions {
  double lr = 6e-4;
  double beta1 = 0.9;
  double beta2 = 0.98;
  double eps = 1e-8;
  double weight_decay = 0.0;   // decoupled
  double max_grad_norm = 1.0;  // 0: no clipping
  int64_t warmup_steps = 0;    // optimizer steps, linear from lr/warmup_steps
  LrSchedule schedule = LrSchedule::kConstant;
  double final_lr_ratio = 0.1;  // of lr, at progress 1, for kLinear and kCosine
};

struct LossOptions {
  LossAggregation aggregation = LossAggregation::kTokenMean;
  LossRatio ratio = LossRatio::kToken;
  double clip_low = 0.2;         // ratio >= 1 - clip_low
  double clip_high = 0.28;       // ratio <= 1 + clip_high
  double kl_beta = 0.0;          // weight of k3 KL to the reference; 0: no reference model is kept
  double importance_cap = 0.0;   // truncated importance weight for stale tokens; 0: off
  double step_dpo_weight = 0.0;  // weight of the step-DPO loss mixed in
  double step_dpo_beta = 0.1;
  int64_t max_response_tokens = 128;  // for kSequenceSumNorm
};

struct TrainerOptions {
  OptimizerOptions optimizer;
  LossOptions loss;
  int64_t updates_per_batch = 1;          // optimizer steps a batch, over a seeded random split
  int64_t micro_batch_tokens = 4096;      // tokens of one forward and backward pass
  bool activation_checkpointing = false;  // backward passes compute each layer again: less memory
  int64_t max_bad_steps = 5;              // skipped steps in a row until the run stops
  // Nats. A batch warns if its fresh tokens' log-probabilities are further than this, on average,
  // from those at sampling time; 0: never. Kernels that round differently stay below it in bf16.
  double logprob_gap_alarm = 0.05;
  uint64_t seed = 0;
  int threads = 1;
  std::string device = "cpu";
  int64_t bucket_bytes = 25 << 20;  // of gradients that ranks exchange at once; >= 1
};

// A supervised example: loss on tokens[prompt_tokens..], each with its weight.
struct SupervisedExample {
  std::vector<int32_t> tokens;  // prompt and response
  uint32_t prompt_tokens = 0;
  std::vector<float> weights;  // one a response token; empty: all 1
};

// What one batch did. A metric that has nothing to measure in this batch is absent.
struct TrainReport {
  std::vector<Metric>
      metrics;  // loss, grad norm, ratio, clip share, entropy, lr, ... ("train/...")
  uint64_t trained_tokens = 0;        // response tokens that entered the loss
  uint64_t skipped_updates = 0;       // non-finite loss or gradient
  std::vector<std::string> warnings;  // sentences for the log
};

class RankGroup;

// One thread owns a trainer and makes every call.
//
// A learner of several ranks has one trainer a rank, with the same options. train(),
// train_supervised(), save_optimizer() and restore() are collective then, as is making the trainer:
// every rank makes the same calls in the same order with the same batches, and each computes its
// share of them. All ranks have the same weights after each call, and rank 0's report and errors
// are those of the whole batch. An error of such a call (see RankGroup) ends the group, so the
// other ranks get one too; the trainers are of no more use then, except for their weights().
class Trainer {
 public:
  virtual ~Trainer() = default;

  // One training step on groups whose advantages are final. `version` is that of the weights it
  // starts from: rollouts that are all of it are fresh. `progress` in [0,1] is how much of the run
  // is done; it drives the schedule. The result does not depend on how the groups are ordered
  // if the caller sorts them. Non-finite losses or gradients skip their update; after max_bad_steps
  // in a row this fails with kInternal and the batch is dumped to `dump_dir`/bad_batch.jsonl (by
  // rank 0).
  virtual Result<TrainReport> train(std::span<const SampleGroup> groups, uint64_t version,
                                    double progress, const std::filesystem::path& dump_dir) = 0;

  // One supervised update on the examples (cross entropy, weighted token mean).
  virtual Result<TrainReport> train_supervised(std::span<const SupervisedExample> examples,
                                               double progress,
                                               const std::filesystem::path& dump_dir) = 0;

  // A copy of the current weights as version `version`, in storage of `allocate`.
  virtual WeightsPtr weights(uint64_t version, const AllocateWeights& allocate) const = 0;

  // Optimizer state (moments, steps, counters) as one safetensors file; written beside and renamed.
  // Rank 0 writes it, the same for any number of ranks; whether that failed only rank 0 knows.
  virtual Result<void> save_optimizer(const std::filesystem::path& file) const = 0;

  // Restores weights and optimizer. kBadInput names the first tensor that does not fit. Both are
  // rank 0's; the other ranks may pass null and any path.
  virtual Result<void> restore(WeightsPtr weights, const std::filesystem::path& optimizer_file) = 0;
};

// Starts from `weights`, which also are the reference for the KL term. `ranks`: null, or the group
// of which this is a rank, shared with whoever may abort it; then all start from rank 0's weights,
// and those of the others may be null. A group serves one trainer.
//
// With model.adapter, `weights` are an adapter's with their base, which every rank needs and which
// stays as it is: gradients, optimizer state, weights() and files are of the adapter alone, and the
// reference for the KL term is the base.
Result<std::unique_ptr<Trainer>> make_trainer(const TrainerOptions& options,
                                              const ModelConfig& model, WeightsPtr weights,
                                              std::shared_ptr<RankGroup> ranks = nullptr);

}  // namespace tracewise
