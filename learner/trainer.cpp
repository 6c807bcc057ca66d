#include "learner/trainer.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <type_traits>

#include "learner/batch.hpp"
#include "learner/batch_dump.hpp"
#include "learner/first_pass.hpp"
#include "learner/gradient_exchange.hpp"
#include "learner/loss.hpp"
#include "learner/optimizer.hpp"
#include "learner/rank_agreement.hpp"
#include "learner/step_sums.hpp"
#include "model/logprobs.hpp"

namespace tracewise {
namespace {

// The first failure is the one to read; a dump that failed too is told beside it.
Error with_dump(Error error, const Result<void>& dumped) {
  if (!dumped.ok()) error.message += "; its batch is lost: " + dumped.error().message;
  return error;
}

class DecoderTrainer final : public Trainer {
 public:
  // `ranks` is null where there is one rank.
  DecoderTrainer(const TrainerOptions& options, const ModelConfig& model, at::Device device,
                 std::shared_ptr<RankGroup> ranks)
      : options_(options),
        ranks_(std::move(ranks)),
        decoder_(model, Decoder::Mode::kTraining, device) {
    if (!ranks_) return;
    share_ = {ranks_->rank(), ranks_->size()};
    exchange_ = std::make_unique<GradientExchange>(*ranks_, decoder_, options.bucket_bytes);
  }

  Result<void> start(const WeightsPtr& weights) {
    return together([&]() -> Result<void> {
      TW_TRY(load_weights(weights, fingerprint(options_, weights_layout(decoder_.config()))));
      optimizer_ = std::make_unique<Optimizer>(options_.optimizer, decoder_, ranks_.get());
      if (options_.loss.kl_beta > 0 || options_.loss.step_dpo_weight > 0) {
        reference_ = std::make_unique<Decoder>(decoder_.config(), Decoder::Mode::kInference,
                                               decoder_.device());
        TW_TRY(reference_->load(ranks_ ? decoder_.snapshot(0) : weights));
      }
      return {};
    });
  }

  Result<TrainReport> train(std::span<const SampleGroup> groups, uint64_t version, double progress,
                            const std::filesystem::path& dump_dir) override {
    return together([&]() -> Result<TrainReport> {
      TW_TRY(same_batch(fingerprint(groups)));
      const double waited = waited_seconds();
      version_ = version;
      StepSums sums;
      const auto batches =
          cut_batches(groups, options_, static_cast<uint64_t>(optimizer_->steps()), share_);
      const std::vector<std::vector<at::Tensor>> old = proximal_logprobs(batches);
      for (size_t b = 0; b < batches.size(); ++b) {
        const double loss = add_gradients(batches[b], old.empty() ? nullptr : &old[b], sums);
        sums.add_balance(batches[b].rank_tokens);
        if (auto stopped = finish_update(loss, progress, sums); !stopped.ok())
          return dumped(stopped.error(), groups, dump_dir);
      }
      return report(sums, waited);
    });
  }

  Result<TrainReport> train_supervised(std::span<const SupervisedExample> examples, double progress,
                                       const std::filesystem::path& dump_dir) override {
    return together([&]() -> Result<TrainReport> {
      TW_TRY(same_batch(fingerprint(examples)));
      const double waited = waited_seconds();
      StepSums sums;
      double total_weight = 0;
      for (const SupervisedExample& e : examples)
        for (size_t t = e.prompt_tokens; t < e.tokens.size(); ++t) total_weight += weight_of(e, t);
      if (!(total_weight > 0)) return bad_input("a supervised batch has no token with a weight");
      const double loss = add_gradients(examples, total_weight, sums);
      if (auto stopped = finish_update(loss, progress, sums); !stopped.ok())
        return dumped(stopped.error(), examples, dump_dir);
      return report(sums, waited);
    });
  }

  WeightsPtr weights(uint64_t version) const override { return decoder_.snapshot(version); }

  Result<void> save_optimizer(const std::filesystem::path& file) const override {
    return together([&] { return optimizer_->save(file); });
  }

  Result<void> restore(WeightsPtr weights, const std::filesystem::path& optimizer_file) override {
    return together([&]() -> Result<void> {
      TW_TRY(load_weights(weights, 0));
      optimizer_->weights_changed();
      return optimizer_->load(optimizer_file);
    });
  }

 private:
  // Does a call that all ranks make. A rank that leaves it early, by an error or an exception, ends
  // the group, or the others would wait for it.
  template <class Call>
  std::invoke_result_t<Call> together(const Call& call) const {
    struct Leaving {
      RankGroup* ranks;
      ~Leaving() {
        if (ranks) ranks->abort();
      }
    } leaving{ranks_.get()};
    auto result = call();
    if (result.ok()) leaving.ranks = nullptr;
    return result;
  }

  // Rank 0's weights to all ranks; theirs may be null. Ranks with another `mark` are refused.
  Result<void> load_weights(const WeightsPtr& weights, uint64_t mark) {
    if (!ranks_) return decoder_.load(weights);
    TW_CHECK(weights || ranks_->rank() > 0, "rank 0 has the weights");
    TW_TRY(agree(*ranks_, weights ? decoder_.load(weights) : Result<void>(), "its weights"));
    TW_TRY(same_on_all(*ranks_, mark, "options or model"));
    return ranks_->broadcast(decoder_.flat(), 0, "the weights");
  }

  Result<void> same_batch(uint64_t mark) const {
    return ranks_ ? same_on_all(*ranks_, mark, "samples in its batch") : Result<void>();
  }

  double waited_seconds() const { return ranks_ ? ranks_->waited_seconds() : 0; }

  template <class Batch>
  Error dumped(Error error, const Batch& batch, const std::filesystem::path& dump_dir) const {
    if (share_.rank > 0) return error;  // rank 0 has the same batch
    const std::filesystem::path file = dump_dir / "bad_batch.jsonl";
    return with_dump(std::move(error), dump(file, batch));
  }

  // Calls each pass in turn. The gradients of the last may go to the other ranks at once.
  double add_passes(const std::vector<std::function<double()>>& passes) {
    double loss = 0;
    for (size_t i = 0; i < passes.size(); ++i) {
      if (exchange_ && i + 1 == passes.size()) exchange_->start(optimizer_->steps() + 1);
      loss += passes[i]();
    }
    return loss;
  }

  // This rank's part of an update's gradient; returns its part of the loss. `old`: one a
  // micro-batch, or null.
  double add_gradients(const OptimizerBatch& batch, const std::vector<at::Tensor>* old,
                       StepSums& sums) {
    optimizer_->zero_gradient();
    std::vector<std::function<double()>> passes;
    for (size_t m = 0; m < batch.micro_batches.size(); ++m) {
      passes.push_back([&, m] {
        return accumulate(batch.micro_batches[m], old ? (*old)[m] : at::Tensor(), sums);
      });
    }
    for (const auto& pairs : batch.pair_batches)
      passes.push_back([&] { return accumulate_pairs(pairs, batch.pairs, sums); });
    return add_passes(passes);
  }

  double add_gradients(std::span<const SupervisedExample> examples, double total_weight,
                       StepSums& sums) {
    optimizer_->zero_gradient();
    std::vector<const SupervisedExample*> all;
    std::vector<int64_t> sizes, loads(static_cast<size_t>(share_.size));
    for (const SupervisedExample& e : examples) {
      all.push_back(&e);
      sizes.push_back(static_cast<int64_t>(e.tokens.size()));
    }
    const std::vector<int> owners = deal(sizes, loads);
    const auto mine = dealt_to<const SupervisedExample*>(share_.rank, all, owners);
    sizes = dealt_to<int64_t>(share_.rank, sizes, owners);
    sums.add_balance(loads);
    std::vector<std::function<double()>> passes;
    size_t begin = 0;
    for (const size_t end : budget_ends(sizes, options_.micro_batch_tokens)) {
      passes.push_back([&, part = std::span(mine).subspan(begin, end - begin)] {
        return accumulate_supervised(part, total_weight, sums);
      });
      begin = end;
    }
    return add_passes(passes);
  }

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

  // A token that others follow may have been sampled on a cache that older weights had left, so
  // the whole rollout has to be of the batch's version.
  bool is_fresh(const AdvantageRollout& rollout) const {
    return std::ranges::all_of(rollout.versions, [&](uint64_t v) { return v == version_; });
  }

  // Adds one micro-batch's gradient; returns its loss.
  double accumulate(const MicroBatch& micro, const at::Tensor& old, StepSums& sums) {
    const PackedTokens packed = pack(micro);
    std::vector<float> behaviour, advantages, weights, fresh;
    for (const BatchItem& item : micro) {
      const AdvantageRollout& r = *item.rollout;
      fresh.insert(fresh.end(), r.advantages.size(), is_fresh(r) ? 1.0f : 0.0f);
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
    const at::Tensor measured = policy.sums.to(at::kCPU);
    for (int i = 0; i < PolicyLoss::kSums; ++i) sums.policy[i] += measured.data_ptr<double>()[i];
    sums.ratio_max = std::max(sums.ratio_max, policy.ratio_max);
    // Later updates of the batch find weights that its first ones have changed.
    if (old.defined() || sums.updates == 0) {
      sums.first.add(first_pass(old.defined() ? old : terms.logprobs.detach(), terms.behaviour,
                                on_device(fresh), options_.loss.importance_cap));
    }
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

  double accumulate_supervised(std::span<const SupervisedExample* const> examples,
                               double total_weight, StepSums& sums) {
    PackedTokens packed;
    std::vector<float> weights;
    for (const SupervisedExample* e : examples) {
      packed.append(e->tokens, e->prompt_tokens);
      for (size_t t = e->prompt_tokens; t < e->tokens.size(); ++t)
        weights.push_back(static_cast<float>(weight_of(*e, t) / total_weight));
    }
    const at::Tensor logits = predict(decoder_, packed);
    const at::Tensor loss =
        -(token_logprobs(logits, on_device(packed.targets)) * on_device(weights)).sum();
    loss.backward();
    sums.tokens += static_cast<int64_t>(weights.size());
    return loss.item<double>();
  }

  // Applies the gradient, or skips it, on all ranks alike. An error after too many skips in a row.
  Result<void> finish_update(double loss, double progress, StepSums& sums) {
    double norm = 0;
    if (ranks_) {
      const int64_t update = optimizer_->steps() + 1;
      TW_TRY(exchange_->finish(update));
      norm = optimizer_->gradient_norm();
      const std::array<double, 2> mine = {loss, norm};
      TW_ASSIGN(const auto all,
                ranks_->all_gather_numbers(mine, "the loss of update " + std::to_string(update)));
      loss = 0;
      for (size_t i = 0; i < all.size(); i += 2) loss += all[i];
      norm = all[1];  // rank 0's, so that processors that round differently decide alike
    } else if (std::isfinite(loss)) {
      norm = optimizer_->gradient_norm();
    }
    if (!std::isfinite(loss) || !std::isfinite(norm)) {
      ++sums.skipped;
      if (++bad_in_a_row_ >= options_.max_bad_steps) {
        return Error{ErrorClass::kInternal,
                     std::to_string(bad_in_a_row_) +
                         " updates in a row had a loss or gradient that is not finite"};
      }
      return {};
    }
    TW_ASSIGN(sums.lr, optimizer_->update(progress, norm));
    bad_in_a_row_ = 0;
    ++sums.updates;
    sums.loss += loss;
    sums.grad_norm += norm;
    return {};
  }

  Result<TrainReport> report(StepSums& sums, double waited_before) const {
    if (ranks_) {
      sums.exchange_seconds = waited_seconds() - waited_before;
      TW_ASSIGN(const auto all, ranks_->all_gather_numbers(sums.numbers(), "the metrics"));
      sums.merge(all);
    }
    return sums.report(options_, optimizer_->steps());
  }

  TrainerOptions options_;
  std::shared_ptr<RankGroup> ranks_;  // null for one rank; shared with whoever may abort it
  RankShare share_;
  Decoder decoder_;
  std::unique_ptr<GradientExchange> exchange_;  // refers to ranks_ and decoder_; null for one rank
  std::unique_ptr<Decoder> reference_;          // the start weights; only where a term needs it
  std::unique_ptr<Optimizer> optimizer_;        // refers to ranks_ and decoder_
  uint64_t version_ = 0;                        // of the weights that the batch found
  int64_t bad_in_a_row_ = 0;
};

}  // namespace

Result<std::unique_ptr<Trainer>> make_trainer(const TrainerOptions& options,
                                              const ModelConfig& model, WeightsPtr weights,
                                              std::shared_ptr<RankGroup> ranks) {
  TW_ASSIGN(const at::Device device, parse_device(options.device));
  at::set_num_threads(options.threads);
  if (ranks && ranks->size() == 1) ranks = nullptr;
  try {
    auto trainer = std::make_unique<DecoderTrainer>(options, model, device, std::move(ranks));
    TW_TRY(trainer->start(weights));
    return std::unique_ptr<Trainer>(std::move(trainer));
  } catch (const std::exception& e) {
    return Error{ErrorClass::kResource, std::string("no memory for the trainer: ") + e.what()};
  }
}

}  // namespace tracewise
