#include "learner/gradient_passes.hpp"

#include <ATen/ATen.h>

#include <algorithm>

#include "learner/first_pass.hpp"
#include "learner/head_loss.hpp"

namespace tracewise {
namespace {

PackedTokens pack(const MicroBatch& micro) {
  PackedTokens packed;
  for (const BatchItem& item : micro)
    packed.append(item.rollout->tokens, item.rollout->prompt_tokens);
  return packed;
}

// Terms of rows [begin, begin + rows).
PolicyTerms rows_of(const PolicyTerms& all, int64_t begin, int64_t rows) {
  const auto some = [&](const at::Tensor& x) { return x.defined() ? x.narrow(0, begin, rows) : x; };
  return {{},
          some(all.old),
          some(all.behaviour),
          some(all.reference),
          some(all.advantages),
          some(all.weights)};
}

at::Tensor add_policy(const PolicyLoss& policy, StepSums& sums) {
  const at::Tensor measured = policy.sums.to(at::kCPU);
  for (int i = 0; i < PolicyLoss::kSums; ++i) sums.policy[i] += measured.data_ptr<double>()[i];
  sums.ratio_max = std::max(sums.ratio_max, policy.ratio_max);
  return policy.loss;
}

}  // namespace

at::Tensor GradientPasses::on_device(const std::vector<float>& x) const {
  return at::tensor(x, at::kFloat).to(decoder_.device());
}

at::Tensor GradientPasses::on_device(const std::vector<int64_t>& x) const {
  return at::tensor(x, at::kLong).to(decoder_.device());
}

// A token that others follow may have been sampled on a cache that older weights had left, so the
// whole rollout has to be of the batch's version.
bool GradientPasses::is_fresh(const AdvantageRollout& rollout) const {
  return std::ranges::all_of(rollout.versions, [&](uint64_t v) { return v == version_; });
}

at::Tensor GradientPasses::logprobs(const MicroBatch& micro) const {
  return predict_logprobs(decoder_, pack(micro));
}

PolicyTerms GradientPasses::policy_terms(const MicroBatch& micro, const PackedTokens& packed,
                                         const at::Tensor& old) const {
  std::vector<float> behaviour, advantages, weights, tokens;
  std::vector<int64_t> index;
  for (const BatchItem& item : micro) {
    const AdvantageRollout& r = *item.rollout;
    index.insert(index.end(), r.advantages.size(), static_cast<int64_t>(tokens.size()));
    tokens.push_back(static_cast<float>(r.advantages.size()));
    behaviour.insert(behaviour.end(), r.logprobs.begin(), r.logprobs.end());
    advantages.insert(advantages.end(), r.advantages.begin(), r.advantages.end());
    weights.insert(weights.end(), r.advantages.size(), item.token_weight);
  }
  PolicyTerms terms;
  terms.behaviour = on_device(behaviour);
  terms.old = old.defined() ? old : terms.behaviour;
  terms.advantages = on_device(advantages);
  terms.weights = on_device(weights);
  if (options_.ratio == LossRatio::kSequence)
    terms.rollouts = {on_device(index), on_device(tokens)};
  if (options_.kl_beta > 0) terms.reference = predict_logprobs(*reference_, packed);
  return terms;
}

at::Tensor GradientPasses::add_terms(const PolicyTerms& terms, const at::Tensor& fresh,
                                     bool proximal, StepSums& sums) const {
  // Later updates of the batch find weights that its first ones have changed.
  if (proximal || sums.updates == 0) {
    const at::Tensor first = proximal ? terms.old : terms.logprobs.detach();
    const at::Tensor log_weights =
        log_ratio(first - terms.behaviour, options_.ratio, terms.rollouts);
    sums.first.add(first_pass(first, terms.behaviour, fresh, log_weights, options_.importance_cap));
  }
  return add_policy(policy_loss(terms, options_), sums);
}

void GradientPasses::head_backward(const at::Tensor& hidden, const at::Tensor& targets,
                                   const at::Tensor& gradient,
                                   const std::function<void(const at::Tensor& all)>& see) const {
  head_loss(decoder_, hidden, targets, rows_at_once(decoder_),
            [&](int64_t begin, const at::Tensor& rows, const at::Tensor& all) {
              if (see) see(all);
              return (rows * gradient.narrow(0, begin, rows.size(0))).sum();
            })
      .backward();
}

double GradientPasses::add(const MicroBatch& micro, const at::Tensor& old, StepSums& sums) const {
  const PackedTokens packed = pack(micro);
  const PolicyTerms all = policy_terms(micro, packed, old);
  std::vector<float> are_fresh;
  for (const BatchItem& item : micro)
    are_fresh.insert(are_fresh.end(), item.rollout->advantages.size(),
                     is_fresh(*item.rollout) ? 1.0f : 0.0f);
  const at::Tensor fresh = on_device(are_fresh), targets = on_device(packed.targets);
  const at::Tensor hidden = predicting_hidden(decoder_, packed, checkpointed_);
  const auto see = [&](const at::Tensor& logprobs) {
    sums.entropy += row_entropy(logprobs).sum().item<double>();
  };
  sums.tokens += targets.size(0);
  if (options_.ratio == LossRatio::kSequence) {
    PolicyTerms terms = all;
    terms.logprobs = target_logprobs(decoder_, hidden, targets).requires_grad_(true);
    const at::Tensor loss = add_terms(terms, fresh, old.defined(), sums);
    loss.backward();
    head_backward(hidden, targets, terms.logprobs.grad(), see);
    return loss.item<double>();
  }
  const at::Tensor loss =
      head_loss(decoder_, hidden, targets, rows_at_once(decoder_),
                [&](int64_t begin, const at::Tensor& logprobs, const at::Tensor& vocabulary) {
                  const int64_t rows = logprobs.size(0);
                  PolicyTerms terms = rows_of(all, begin, rows);
                  terms.logprobs = logprobs;
                  see(vocabulary);
                  return add_terms(terms, fresh.narrow(0, begin, rows), old.defined(), sums);
                });
  loss.backward();
  return loss.item<double>();
}

double GradientPasses::add_pairs(const std::vector<const StepPair*>& pairs, int64_t total,
                                 StepSums& sums) const {
  PackedTokens packed;
  std::vector<int64_t> owner;  // [R] which sequence a predicted token belongs to
  int64_t sequence = 0;
  for (const StepPair* pair : pairs) {
    for (const auto* step : {&pair->chosen, &pair->rejected}) {
      std::vector<int32_t> tokens = pair->prefix;
      tokens.insert(tokens.end(), step->begin(), step->end());
      packed.append(tokens, static_cast<int64_t>(pair->prefix.size()));
      owner.insert(owner.end(), step->size(), sequence++);
    }
  }
  const auto per_step = [&](const at::Tensor& logprobs) {  // [pairs, 2]
    return at::zeros({sequence}, logprobs.options())
        .index_add(0, on_device(owner), logprobs)
        .view({-1, 2});
  };
  const at::Tensor hidden = predicting_hidden(decoder_, packed, checkpointed_);
  const at::Tensor targets = on_device(packed.targets);
  // A pair's loss needs all of its tokens: their gradients come first, then the rows'.
  const at::Tensor logprobs = target_logprobs(decoder_, hidden, targets).requires_grad_(true);
  const at::Tensor mine = per_step(logprobs);
  const at::Tensor theirs = per_step(predict_logprobs(*reference_, packed));
  const at::Tensor loss =
      step_dpo_loss(mine.select(1, 0), mine.select(1, 1), theirs.select(1, 0), theirs.select(1, 1),
                    options_.step_dpo_beta) *
      (options_.step_dpo_weight * static_cast<double>(pairs.size()) / static_cast<double>(total));
  loss.backward();
  head_backward(hidden, targets, logprobs.grad(), {});
  sums.pairs += static_cast<int64_t>(pairs.size());
  sums.pair_loss += loss.item<double>();
  return loss.item<double>();
}

double GradientPasses::add_supervised(std::span<const SupervisedExample* const> examples,
                                      double total_weight, StepSums& sums) const {
  PackedTokens packed;
  std::vector<float> weights;
  for (const SupervisedExample* e : examples) {
    packed.append(e->tokens, e->prompt_tokens);
    for (size_t t = e->prompt_tokens; t < e->tokens.size(); ++t)
      weights.push_back(static_cast<float>(token_weight(*e, t) / total_weight));
  }
  const at::Tensor all = on_device(weights);
  const at::Tensor loss = head_loss(
      decoder_, predicting_hidden(decoder_, packed, checkpointed_), on_device(packed.targets),
      rows_at_once(decoder_), [&](int64_t begin, const at::Tensor& logprobs, const at::Tensor&) {
        return -(logprobs * all.narrow(0, begin, logprobs.size(0))).sum();
      });
  loss.backward();
  sums.tokens += static_cast<int64_t>(weights.size());
  return loss.item<double>();
}

}  // namespace tracewise
