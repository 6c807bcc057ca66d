#include "learner/loss.hpp"

#include <ATen/ATen.h>

namespace tracewise {
namespace {

at::Tensor objective(const PolicyTerms& t, const LossOptions& options, const at::Tensor& ratio) {
  const at::Tensor clipped = ratio.clamp(1 - options.clip_low, 1 + options.clip_high);
  return at::minimum(ratio * t.advantages, clipped * t.advantages);
}

// k3: an unbiased estimate of KL(policy || reference) that is never negative.
at::Tensor k3(const at::Tensor& logprobs, const at::Tensor& reference) {
  const at::Tensor difference = reference - logprobs;
  return difference.exp() - difference - 1;
}

}  // namespace

at::Tensor log_ratio(const at::Tensor& differences, LossRatio ratio, const RolloutRows& rollouts) {
  if (ratio == LossRatio::kToken) return differences;
  const at::Tensor sums = at::zeros_like(rollouts.tokens).index_add(0, rollouts.index, differences);
  return (sums / rollouts.tokens).index_select(0, rollouts.index);
}

PolicyLoss policy_loss(const PolicyTerms& t, const LossOptions& options) {
  const at::Tensor ratio = log_ratio(t.logprobs - t.old, options.ratio, t.rollouts).exp();
  at::Tensor objective_terms = objective(t, options, ratio);
  if (options.importance_cap > 0) {
    const at::Tensor weight = log_ratio(t.old - t.behaviour, options.ratio, t.rollouts).exp();
    objective_terms = weight.clamp_max(options.importance_cap) * objective_terms;
  }
  at::Tensor kl = at::zeros_like(t.old);
  if (t.reference.defined()) {
    kl = k3(t.logprobs, t.reference);
    objective_terms = objective_terms - options.kl_beta * kl;
  }
  PolicyLoss result;
  result.loss = -(t.weights * objective_terms).sum();

  const at::Tensor r = ratio.detach();
  const at::Tensor outside =
      at::logical_or(at::logical_and(r < 1 - options.clip_low, t.advantages < 0),
                     at::logical_and(r > 1 + options.clip_high, t.advantages > 0));
  const auto sum = [](const at::Tensor& x) { return x.to(at::kDouble).sum(); };
  result.sums = at::stack({sum(at::ones_like(r)), sum(r), sum(outside), sum(kl.detach())});
  result.ratio_max = r.max().item<double>();
  return result;
}

at::Tensor step_dpo_loss(const at::Tensor& chosen, const at::Tensor& rejected,
                         const at::Tensor& chosen_reference, const at::Tensor& rejected_reference,
                         double beta) {
  const at::Tensor margin = (chosen - chosen_reference) - (rejected - rejected_reference);
  return at::softplus(-beta * margin).mean();
}

}  // namespace tracewise
