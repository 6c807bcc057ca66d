// One forward and backward pass: adds a micro-batch's gradient to the decoder's.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <span>
#include <vector>

#include "learner/batch.hpp"
#include "learner/loss.hpp"
#include "learner/step_sums.hpp"
#include "learner/trainer.hpp"
#include "model/decoder.hpp"
#include "model/logprobs.hpp"

namespace tracewise {

// What token `token` >= prompt_tokens of an example weighs.
inline double token_weight(const SupervisedExample& e, size_t token) {
  return e.weights.empty() ? 1.0 : e.weights[token - e.prompt_tokens];
}

// Used by one thread. add...() return the micro-batch's part of the loss, and add what they measure
// to `sums`.
class GradientPasses {
 public:
  // `reference`: for the KL term and step-DPO, else null. Both decoders outlive this.
  GradientPasses(const TrainerOptions& options, const Decoder& decoder, const Decoder* reference)
      : options_(options.loss),
        checkpointed_(options.activation_checkpointing),
        decoder_(decoder),
        reference_(reference) {}

  // Of the weights that the batch finds: rollouts that are all of it are fresh.
  void set_version(uint64_t version) { version_ = version; }

  // Of the micro-batch's response tokens: [R] nats, without gradient.
  at::Tensor logprobs(const MicroBatch& micro) const;

  // `old`: logprobs() at the step's start; undefined: the ratio is taken against the behaviour
  // policy.
  double add(const MicroBatch& micro, const at::Tensor& old, StepSums& sums) const;

  // Of `total` pairs in the optimizer batch.
  double add_pairs(const std::vector<const StepPair*>& pairs, int64_t total, StepSums& sums) const;

  // `total_weight`: of all tokens of the update.
  double add_supervised(std::span<const SupervisedExample* const> examples, double total_weight,
                        StepSums& sums) const;

 private:
  at::Tensor on_device(const std::vector<float>& x) const;
  at::Tensor on_device(const std::vector<int64_t>& x) const;
  bool is_fresh(const AdvantageRollout& rollout) const;
  PolicyTerms policy_terms(const MicroBatch& micro, const PackedTokens& packed,
                           const at::Tensor& old) const;
  // Of the rows of `terms`. fresh: see first_pass(). proximal: terms.old is not the behaviour.
  at::Tensor add_terms(const PolicyTerms& terms, const at::Tensor& fresh, bool proximal,
                       StepSums& sums) const;
  // Backward of a loss that needs all rows at once, by its gradient for each log-probability [R].
  // `see` gets the log-probabilities of all rows, a few at a time.
  void head_backward(const at::Tensor& hidden, const at::Tensor& targets,
                     const at::Tensor& gradient,
                     const std::function<void(const at::Tensor& all)>& see) const;

  LossOptions options_;
  bool checkpointed_;
  const Decoder& decoder_;
  const Decoder* reference_;
  uint64_t version_ = 0;
};

}  // namespace tracewise
