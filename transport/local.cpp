#include "transport/local.hpp"

#include <algorithm>
#include <mutex>
#include <utility>

#include "messages/waits.hpp"
#include "transport/offer.hpp"

namespace tracewise {

class LocalWeights {
 public:
  using TimePoint = WeightsSender::TimePoint;

  Result<WeightsPlace> publish(WeightsBuffer weights) {
    const std::lock_guard lock(mutex_);
    TW_TRY(offer_.put(std::move(weights)));
    changed_.notify_all();
    return WeightsPlace{};
  }

  // `first_live_epoch`: the receiver's own, changed by end().
  Result<FetchedWeights> fetch(const WeightsManifest& wanted, TimePoint deadline,
                               const uint64_t& first_live_epoch) {
    std::unique_lock lock(mutex_);
    Result<bool> here = false;
    const bool settled = Wait(name_of(wanted), "the learner", deadline).on(changed_, lock, [&] {
      here = wanted.epoch < first_live_epoch ? aborted_error(wanted) : offer_.has(wanted);
      return !here.ok() || *here;
    });
    if (!settled) {
      return Error{ErrorClass::kDeadline, name_of(wanted) + " was not offered in time"};
    }
    if (!here.ok()) return here.error();
    return FetchedWeights{*offer_.current(), "local"};
  }

  void abort(uint64_t epoch) {
    const std::lock_guard lock(mutex_);
    offer_.abort(epoch);
    changed_.notify_all();
  }

  void end(uint64_t epoch, uint64_t& first_live_epoch) {
    const std::lock_guard lock(mutex_);
    first_live_epoch = std::max(first_live_epoch, epoch + 1);
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  Condition changed_;
  Offer offer_;
};

namespace {

class LocalSender final : public WeightsSender {
 public:
  explicit LocalSender(std::shared_ptr<LocalWeights> weights) : weights_(std::move(weights)) {}

  Result<WeightsPlace> publish(WeightsBuffer weights, TimePoint) override {
    return weights_->publish(std::move(weights));
  }
  void abort(uint64_t epoch) override { weights_->abort(epoch); }

 private:
  const std::shared_ptr<LocalWeights> weights_;
};

class LocalReceiver final : public WeightsReceiver {
 public:
  explicit LocalReceiver(std::shared_ptr<LocalWeights> weights) : weights_(std::move(weights)) {}

  Result<FetchedWeights> fetch(const WeightsReady& wanted, TimePoint deadline) override {
    return weights_->fetch(wanted.manifest, deadline, first_live_epoch_);
  }
  void abort(uint64_t epoch) override { weights_->end(epoch, first_live_epoch_); }

 private:
  const std::shared_ptr<LocalWeights> weights_;
  uint64_t first_live_epoch_ = 0;  // guarded by the lock of weights_
};

}  // namespace

std::shared_ptr<LocalWeights> make_local_weights() { return std::make_shared<LocalWeights>(); }

std::unique_ptr<WeightsSender> make_local_sender(std::shared_ptr<LocalWeights> weights) {
  return std::make_unique<LocalSender>(std::move(weights));
}

std::unique_ptr<WeightsReceiver> make_local_receiver(std::shared_ptr<LocalWeights> weights) {
  return std::make_unique<LocalReceiver>(std::move(weights));
}

}  // namespace tracewise
