// Rank 0's trainer, as the learner uses it: whatever all ranks have to call at the same time is
// told to the others first.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <utility>

#include "learner/trainer.hpp"

namespace tracewise {

// Tells the other ranks to make a call of their own trainers. Neither waits for them.
struct RankOrders {
  std::function<void(std::span<const SampleGroup>, uint64_t version, double progress)> train;
  std::function<void()> save;
};

class LeadTrainer final : public Trainer {
 public:
  LeadTrainer(std::unique_ptr<Trainer> own, RankOrders orders)
      : own_(std::move(own)), orders_(std::move(orders)) {}

  Result<TrainReport> train(std::span<const SampleGroup> groups, uint64_t version, double progress,
                            const std::filesystem::path& dump_dir) override {
    orders_.train(groups, version, progress);
    return own_->train(groups, version, progress, dump_dir);
  }
  Result<TrainReport> train_supervised(std::span<const SupervisedExample>, double,
                                       const std::filesystem::path&) override {
    return unsupported("supervised training has one rank");
  }
  WeightsPtr weights(uint64_t version, const AllocateWeights& allocate) const override {
    return own_->weights(version, allocate);
  }
  Result<void> save_optimizer(const std::filesystem::path& file) const override {
    orders_.save();
    return own_->save_optimizer(file);
  }
  // The others restore when they have met (RankMeeting::restore).
  Result<void> restore(WeightsPtr weights, const std::filesystem::path& file) override {
    return own_->restore(std::move(weights), file);
  }

 private:
  std::unique_ptr<Trainer> own_;
  RankOrders orders_;
};

}  // namespace tracewise
