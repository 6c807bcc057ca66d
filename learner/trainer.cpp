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
#include "learner/gradient_exchange.hpp"
#include "learner/gradient_passes.hpp"
#include "learner/optimizer.hpp"
#include "learner/rank_agreement.hpp"
#include "learner/step_sums.hpp"
#include "model/adapter.hpp"

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
      TW_TRY(load_weights(weights, fingerprint(options_, version_layout(decoder_.config()))));
      optimizer_ = std::make_unique<Optimizer>(options_.optimizer, decoder_, ranks_.get());
      if (options_.loss.kl_beta > 0 || options_.loss.step_dpo_weight > 0) {
        TW_TRY(make_reference(weights));
      }
      passes_ = std::make_unique<GradientPasses>(options_, decoder_, reference_.get());
      return {};
    });
  }

  Result<TrainReport> train(std::span<const SampleGroup> groups, uint64_t version, double progress,
                            const std::filesystem::path& dump_dir) override {
    return together([&]() -> Result<TrainReport> {
      TW_TRY(same_batch(fingerprint(groups)));
      const double waited = waited_seconds();
      passes_->set_version(version);
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
        for (size_t t = e.prompt_tokens; t < e.tokens.size(); ++t)
          total_weight += token_weight(e, t);
      if (!(total_weight > 0)) return bad_input("a supervised batch has no token with a weight");
      const double loss = add_gradients(examples, total_weight, sums);
      if (auto stopped = finish_update(loss, progress, sums); !stopped.ok())
        return dumped(stopped.error(), examples, dump_dir);
      return report(sums, waited);
    });
  }

  WeightsPtr weights(uint64_t version, const AllocateWeights& allocate) const override {
    return decoder_.snapshot(version, allocate);
  }

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

  // Of an adapter the base, which costs no memory; else a copy of the weights.
  Result<void> make_reference(const WeightsPtr& weights) {
    if (decoder_.config().adapter.rank > 0) {
      reference_ = decoder_.base_decoder();
      return {};
    }
    reference_ =
        std::make_unique<Decoder>(decoder_.config(), Decoder::Mode::kInference, decoder_.device());
    return reference_->load(ranks_ ? decoder_.snapshot(0) : weights);
  }

  // Rank 0's weights to all ranks; theirs may be null. Ranks with another `mark` are refused.
  Result<void> load_weights(const WeightsPtr& weights, uint64_t mark) {
    if (!ranks_) return decoder_.load(weights);
    TW_CHECK(weights || ranks_->rank() > 0, "rank 0 has the weights");
    TW_TRY(agree(*ranks_, weights ? decoder_.load(weights) : Result<void>(), "its weights"));
    TW_TRY(same_on_all(*ranks_, mark, "options or model"));
    TW_TRY(same_on_all(*ranks_, decoder_.base_checksum(), "base weights"));
    TW_TRY(ranks_->broadcast(decoder_.flat(), 0, "the weights"));
    decoder_.flat_changed();
    return {};
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

  // Where truncated importance weights are on, the ratio is taken against the policy at the step's
  // start, which is computed here; else against the behaviour policy itself (empty result).
  std::vector<std::vector<at::Tensor>> proximal_logprobs(
      const std::vector<OptimizerBatch>& batches) {
    std::vector<std::vector<at::Tensor>> old;
    if (options_.loss.importance_cap <= 0) return old;
    for (const OptimizerBatch& batch : batches) {
      old.emplace_back();
      for (const MicroBatch& micro : batch.micro_batches)
        old.back().push_back(passes_->logprobs(micro));
    }
    return old;
  }

  // This rank's part of an update's gradient; returns its part of the loss. `old`: one a
  // micro-batch, or null.
  double add_gradients(const OptimizerBatch& batch, const std::vector<at::Tensor>* old,
                       StepSums& sums) {
    optimizer_->zero_gradient();
    std::vector<std::function<double()>> passes;
    for (size_t m = 0; m < batch.micro_batches.size(); ++m) {
      passes.push_back([&, m] {
        return passes_->add(batch.micro_batches[m], old ? (*old)[m] : at::Tensor(), sums);
      });
    }
    for (const auto& pairs : batch.pair_batches)
      passes.push_back([&] { return passes_->add_pairs(pairs, batch.pairs, sums); });
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
        return passes_->add_supervised(part, total_weight, sums);
      });
      begin = end;
    }
    return add_passes(passes);
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
  std::unique_ptr<GradientPasses> passes_;      // refers to decoder_ and reference_
  std::unique_ptr<Optimizer> optimizer_;        // refers to ranks_ and decoder_
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
