#include "actors/weights_fetcher.hpp"

#include <utility>

namespace tracewise {

WeightsFetcher::WeightsFetcher(std::shared_ptr<WeightsReceiver> receiver, Prepare prepare,
                               std::function<void()> on_end)
    : receiver_(std::move(receiver)),
      prepare_(std::move(prepare)),
      on_end_(std::move(on_end)),
      thread_([this] { run(); }) {}

WeightsFetcher::~WeightsFetcher() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_one();
  receiver_->abort(UINT64_MAX - 1);
  thread_.join();
}

void WeightsFetcher::want(WeightsReady wanted, TimePoint deadline) {
  {
    const std::lock_guard lock(mutex_);
    next_.emplace(std::move(wanted), deadline);
  }
  changed_.notify_one();
}

std::optional<FetchEnd> WeightsFetcher::take() {
  const std::lock_guard lock(mutex_);
  return std::exchange(end_, std::nullopt);
}

void WeightsFetcher::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return stopping_ || next_; });
    if (stopping_) return;
    const auto [wanted, deadline] = *std::exchange(next_, std::nullopt);
    lock.unlock();
    Result<FetchedWeights> fetched = receiver_->fetch(wanted, deadline);
    if (fetched.ok()) {
      if (auto prepared = prepare_(fetched->buffer); !prepared.ok()) fetched = prepared.error();
    }
    lock.lock();
    // What came and was not taken yet is better than word that a newer version was too late.
    if (end_ && !fetched.ok() && fetched.error().error_class == ErrorClass::kCancelled) {
      end_->wanted = wanted.manifest;
    } else {
      end_ = FetchEnd{wanted.manifest, std::move(fetched)};
    }
    lock.unlock();
    on_end_();
    lock.lock();
  }
}

}  // namespace tracewise
