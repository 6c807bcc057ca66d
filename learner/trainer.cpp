#include "learner/trainer.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>

#include <cmath>

#include "learner/batch.hpp"
#include "learner/batch_dump.hpp"
#include "learner/loss.hpp"
#include "learner/optimizer.hpp"
#include "model/logprobs.hpp"

namespace tracewise {
namespace {

// What the updates of one training step add up to.
struct StepSums {
  at::Tensor policy = at::zeros({PolicyLoss::kSums}, at::kDouble);
  double loss = 0, entropy = 0, grad_norm = 0, lr = 0, pair_loss = 0;
  double ratio_max = 0, gap_max = 0;
  int64_t updates = 0, skipped = 0, tokens = 0, pairs = 0;
};

// The first failure is the one to read; a dump that failed too is told beside it.
Error with_dump(Error error, const Result<void>& dumped) {
  if (!dumped.ok()) error.message += "; its batch is lost: " + dumped.error().message;
  return error;
}

class DecoderTrainer final : public Trainer {
 public:
  DecoderTrainer(const TrainerOptions& options, const ModelConfig& model, at::Device device)
      : options_(options), decoder_(model, Decoder::Mode::kTraining, device) {}

  Result<void> start(const Weights& weights) {
    TW_TRY(decoder_.load(weights));
    optimizer_ = std::make_unique<Optimizer>(options_.optimizer, decoder_);
    if (options_.loss.kl_beta > 0 || options_.loss.step_dpo_weight > 0) {
      reference_ = std::make_unique<Decoder>(decoder_.config(), Decoder::Mode::kInference,
                                             decoder_.device());
      TW_TRY(reference_->load(weights));
    }
    return {};
  }

  Result<TrainReport> train(std::span<const SampleGroup> groups, double progress,
                            const std::filesystem::path& dump_dir) override {
    StepSums sums;
    const auto batches = cut_batches(groups, options_, static_cast<uint64_t>(optimizer_->steps()));
    const std::vector<std::vector<at::Tensor>> old = proximal_logprobs(batches);
    for (size_t b = 0; b < batches.size(); ++b) {
      optimizer_->zero_gradient();
      double loss = 0;
      for (size_t m = 0; m < batches[b].micro_batches.size(); ++m) {
        loss +=
            accumulate(batches[b].micro_batches[m], old.empty() ? at::Tensor() : old[b][m], sums);
      }
      for (const auto& pairs : batches[b].pair_batches)
        loss += accumulate_pairs(pairs, batches[b].pairs, sums);
      if (auto stopped = finish_update(loss, progress, sums); !stopped.ok()) {
        return with_dump(stopped.error(), dump_groups(dump_dir / "bad_batch.jsonl", groups));
      }
    }
    return report(sums);
  }

  Result<TrainReport> train_supervised(std::span<const SupervisedExample> examples, double progress,
                                       const std::filesystem::path& dump_dir) override {
    StepSums sums;
    std::vector<int64_t> sizes;
    double total_weight = 0;
    for (const SupervisedExample& e : examples) {
      sizes.push_back(static_cast<int64_t>(e.tokens.size()));
      for (size_t t = e.prompt_tokens; t < e.tokens.size(); ++t) total_weight += weight_of(e, t);
    }
    if (!(total_weight > 0)) return bad_input("a supervised batch has no token with a weight");
    optimizer_->zero_gradient();
    double loss = 0;
    size_t begin = 0;
    for (const size_t end : budget_ends(sizes, options_.micro_batch_tokens)) {
      loss += accumulate_supervised(examples.subspan(begin, end - begin), total_weight, sums);
      begin = end;
    }
    if (auto stopped = finish_update(loss, progress, sums); !stopped.ok()) {
      return with_dump(stopped.error(), dump_examples(dump_dir / "bad_batch.jsonl", examples));
    }
    return report(sums);
  }

  WeightsPtr weights(uint64_t version) const override { return decoder_.snapshot(version); }

  Result<void> save_optimizer(const std::filesystem::path& file) const override {
    return optimizer_->save(file);
  }

  Result<void> restore(WeightsPtr weights, const std::filesystem::path& optimizer_file) override {
    TW_TRY(decoder_.load(*weights));
    optimizer_->weights_changed();
    return optimizer_->load(optimizer_file);
  }

 private:
  static double weight_of(const SupervisedExample& e, size_t token) {
    return e.weights.empty() ? 1.0 : e.weights[token - e.prompt_tokens];
  }

  at::Tensor on_device(const std::vector<float>& x) const {
    return at::tensor(x, at::kFloat).to(decoder_.device());
  }
  at::Tensor on_device(const std::vector<int64_t>& x) const {
    return at::tensor(x, at::kLong).to(decoder_.device());
  }

  static PackedTokens pack(const MicroBatch& micro) {
    PackedTokens packed;
    for (const BatchItem& item : micro)
      packed.append(item.rollout->tokens, item.rollout->prompt_tokens);
    return packed;
  }

  at::Tensor logprobs_without_gradient(const Decoder& decoder, const PackedTokens& packed) const {
    c10::NoGradGuard no_gradient;
    return token_logprobs(predict(decoder, packed), on_device(packed.targets));
  }

  // Where truncated importance weights are on, the ratio is taken against the policy at the step's
  // start, which is computed here; else against the behaviour policy itself (empty result).
  std::vector<std::vector<at::Tensor>> proximal_logprobs(
      const std::vector<OptimizerBatch>& batches) {
    std::vector<std::vector<at::Tensor>> old;
    if (options_.loss.importance_cap <= 0) return old;
    for (const OptimizerBatch& batch : batches) {
      old.emplace_back();
      for (const MicroBatch& micro : batch.micro_batches)
        old.back().push_back(logprobs_without_gradient(decoder_, pack(micro)));
    }
    return old;
  }

  // Adds one micro-batch's gradient; returns its loss.
  double accumulate(const MicroBatch& micro, const at::Tensor& old, StepSums& sums) {
    const PackedTokens packed = pack(micro);
    std::vector<float> behaviour, advantages, weights;
    for (const BatchItem& item : micro) {
      const AdvantageRollout& r = *item.rollout;
      behaviour.insert(behaviour.end(), r.logprobs.begin(), r.logprobs.end());
      advantages.insert(advantages.end(), r.advantages.begin(), r.advantages.end());
      weights.insert(weights.end(), r.advantages.size(), item.token_weight);
    }
    const at::Tensor logits = predict(decoder_, packed);
    PolicyTerms terms;
    terms.logprobs = token_logprobs(logits, on_device(packed.targets));
    terms.behaviour = on_device(behaviour);
    terms.old = old.defined() ? old : terms.behaviour;
    terms.advantages = on_device(advantages);
    terms.weights = on_device(weights);
    if (options_.loss.kl_beta > 0) terms.reference = logprobs_without_gradient(*reference_, packed);
    const PolicyLoss policy = policy_loss(terms, options_.loss);
    policy.loss.backward();
    sums.policy += policy.sums.to(at::kCPU);
    sums.ratio_max = std::max(sums.ratio_max, policy.ratio_max);
    if (sums.updates == 0) sums.gap_max = std::max(sums.gap_max, policy.gap_max);
    sums.entropy += row_entropy(logits).sum().item<double>();
    sums.tokens += static_cast<int64_t>(behaviour.size());
    return policy.loss.item<double>();
  }

  double accumulate_pairs(const std::vector<const StepPair*>& pairs, int64_t total,
                          StepSums& sums) {
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
    const at::Tensor mine =
        per_step(token_logprobs(predict(decoder_, packed), on_device(packed.targets)));
    const at::Tensor theirs = per_step(logprobs_without_gradient(*reference_, packed));
    const at::Tensor loss = step_dpo_loss(mine.select(1, 0), mine.select(1, 1), theirs.select(1, 0),
                                          theirs.select(1, 1), options_.loss.step_dpo_beta) *
                            (options_.loss.step_dpo_weight * static_cast<double>(pairs.size()) /
                             static_cast<double>(total));
    loss.backward();
    sums.pairs += static_cast<int64_t>(pairs.size());
    sums.pair_loss += loss.item<double>();
    return loss.item<double>();
  }

  double accumulate_supervised(std::span<const SupervisedExample> examples, double total_weight,
                               StepSums& sums) {
    PackedTokens packed;
    std::vector<float> weights;
    for (const SupervisedExample& e : examples) {
      packed.append(e.tokens, e.prompt_tokens);
      for (size_t t = e.prompt_tokens; t < e.tokens.size(); ++t)
        weights.push_back(static_cast<float>(weight_of(e, t) / total_weight));
    }
    const at::Tensor logits = predict(decoder_, packed);
    const at::Tensor loss =
        -(token_logprobs(logits, on_device(packed.targets)) * on_device(weights)).sum();
    loss.backward();
    sums.tokens += static_cast<int64_t>(weights.size());
    return loss.item<double>();
  }

  // Applies the gradient, or skips it. An error after too many skips in a row.
  Result<void> finish_update(double loss, double progress, StepSums& sums) {
    UpdateOutcome outcome;
    if (std::isfinite(loss)) outcome = optimizer_->update(progress);
    if (!outcome.applied) {
      ++sums.skipped;
      if (++bad_in_a_row_ >= options_.max_bad_steps) {
        return Error{ErrorClass::kInternal,
                     std::to_string(bad_in_a_row_) +
                         " updates in a row had a loss or gradient that is not finite"};
      }
      return {};
    }
    bad_in_a_row_ = 0;
    ++sums.updates;
    sums.loss += loss;
    sums.grad_norm += outcome.grad_norm;
    sums.lr = outcome.lr;
    return {};
  }

  TrainReport report(const StepSums& sums) const {
    TrainReport report;
    report.trained_tokens = static_cast<uint64_t>(sums.tokens);
    report.skipped_updates = static_cast<uint64_t>(sums.skipped);
    const auto add = [&](const char* name, double value) {
      report.metrics.push_back({std::string("train/") + name, value});
    };
    add("trained_tokens", static_cast<double>(sums.tokens));
    add("skipped_updates", static_cast<double>(sums.skipped));
    add("optimizer_steps", static_cast<double>(optimizer_->steps()));
    if (sums.updates > 0) {
      add("loss", sums.loss / static_cast<double>(sums.updates));
      add("grad_norm", sums.grad_norm / static_cast<double>(sums.updates));
      add("lr", sums.lr);
    }
    const auto* s = sums.policy.data_ptr<double>();
    if (const double tokens = s[PolicyLoss::kTokens]; tokens > 0) {
      add("ratio_mean", s[PolicyLoss::kRatio] / tokens);
      add("ratio_max", sums.ratio_max);
      add("clip_share", s[PolicyLoss::kClipped] / tokens);
      add("entropy", sums.entropy / tokens);
      add("logprob_gap_mean", s[PolicyLoss::kGap] / tokens);
      add("logprob_gap_max_first_update", sums.gap_max);
      if (options_.loss.kl_beta > 0) add("kl", s[PolicyLoss::kKl] / tokens);
      if (options_.loss.importance_cap > 0) {
        add("importance_mean", s[PolicyLoss::kImportance] / tokens);
        add("effective_sample_share", s[PolicyLoss::kImportance] * s[PolicyLoss::kImportance] /
                                          (tokens * s[PolicyLoss::kImportanceSquared]));
      }
    }
    if (sums.pairs > 0) {
      add("step_pairs", static_cast<double>(sums.pairs));
      add("step_dpo_loss",
          sums.pair_loss / static_cast<double>(std::max<int64_t>(sums.updates, 1)));
    }
    return report;
  }

  TrainerOptions options_;
  Decoder decoder_;
  std::unique_ptr<Decoder> reference_;    // the start weights; only where a term needs it
  std::unique_ptr<Optimizer> optimizer_;  // refers to decoder_
  int64_t bad_in_a_row_ = 0;
};

}  // namespace

Result<std::unique_ptr<Trainer>> make_trainer(const TrainerOptions& options,
                                              const ModelConfig& model, WeightsPtr weights) {
  TW_ASSIGN(const at::Device device, parse_device(options.device));
  at::set_num_threads(options.threads);
  try {
    auto trainer = std::make_unique<DecoderTrainer>(options, model, device);
    TW_TRY(trainer->start(*weights));
    return std::unique_ptr<Trainer>(std::move(trainer));
  } catch (const std::exception& e) {
    return Error{ErrorClass::kResource, std::string("no memory for the trainer: ") + e.what()};
  }
}

}  // namespace tracewise
