// The policy loss on one packed micro-batch, blind to the algorithm that made the advantages.
#pragma once

#include <ATen/core/Tensor.h>

#include "learner/trainer.hpp"

namespace tracewise {

// Which rollout a response token belongs to, for LossRatio::kSequence. Rollouts are whole here: the
// ratio of one is of all its tokens.
struct RolloutRows {
  at::Tensor index;   // [R] int64, from 0
  at::Tensor tokens;  // [rollouts] fp32, how many each has
};

// What a ratio is exp() of: the tokens' differences of log-probabilities themselves [R], or for
// LossRatio::kSequence their mean over each rollout at each of its tokens [R].
at::Tensor log_ratio(const at::Tensor& differences, LossRatio ratio, const RolloutRows& rollouts);

// All [R] fp32, one entry a response token; undefined where a term is off.
struct PolicyTerms {
  at::Tensor logprobs;   // of the policy being trained, with gradient
  at::Tensor old;        // the proximal policy: behaviour, or recomputed at the step's start
  at::Tensor behaviour;  // at sampling time
  at::Tensor reference;  // of the reference model; for the KL term
  at::Tensor advantages;
  at::Tensor weights;  // token weights of the aggregation
  RolloutRows rollouts = {};
};

struct PolicyLoss {
  at::Tensor loss;  // scalar with gradient
  // Sums over the micro-batch's tokens, without gradient: [kSums] fp64.
  enum Sum { kTokens, kRatio, kClipped, kKl, kSums };
  at::Tensor sums;
  double ratio_max = 0;
};

// J = sum_t w_t [ c_t * min(rho_t A_t, clip(rho_t, 1 - clip_low, 1 + clip_high) A_t)
//                 - kl_beta * k3_t ],   loss = -J
// rho_t = exp(log_ratio(logprob - old));  c_t = min(exp(log_ratio(old - behaviour)),
// importance_cap), 1 where the cap is 0 (truncated importance sampling);  k3_t = exp(ref - logprob)
// - (ref - logprob) - 1 (Schulman 2020). Clipping as in PPO (arXiv 1707.06347) with DAPO's separate
// bounds (arXiv 2503.14476).
PolicyLoss policy_loss(const PolicyTerms& terms, const LossOptions& options);

// -mean log sigmoid(beta ((chosen - chosen_ref) - (rejected - rejected_ref))) * weight: Step-DPO
// (arXiv 2406.18629) on sums of log-probabilities of whole steps. All [pairs].
at::Tensor step_dpo_loss(const at::Tensor& chosen, const at::Tensor& rejected,
                         const at::Tensor& chosen_reference, const at::Tensor& rejected_reference,
                         double beta);

}  // namespace tracewise
