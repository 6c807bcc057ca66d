#include "actors/weights_fetcher.hpp"

#include <utility>

#include "messages/waits.hpp"

namespace tracewise {
namespace {

// Within which an aborted fetch ends.
constexpr std::chrono::seconds kEndLimit{10};

// As waits name them.
std::string version_name(const WeightsReady& wanted) {
  return "weights version " + std::to_string(wanted.manifest.version);
}
std::string sender_name(const WeightsReady& wanted) {
  return wanted.place.node.empty() ? "learner" : "node " + wanted.place.node;
}

}  // namespace

WeightsFetcher::WeightsFetcher(std::string name, std::shared_ptr<WeightsReceiver> receiver,
                               Prepare prepare, std::function<void()> on_end)
    : name_(std::move(name)),
      receiver_(std::move(receiver)),
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
  Wait("its end", name_, std::chrono::steady_clock::now() + kEndLimit).join(thread_);
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

Result<FetchedWeights> WeightsFetcher::fetch(const WeightsReady& wanted, TimePoint deadline) {
  const Wait wait(version_name(wanted), sender_name(wanted), deadline);
  return receiver_->fetch(wanted, deadline);
}

void WeightsFetcher::run() {
  const NamedThread named(name_);
  std::unique_lock lock(mutex_);
  for (;;) {
    Wait("a version to fetch").on(changed_, lock, [this] { return stopping_ || next_; });
    if (stopping_) return;
    const auto [wanted, deadline] = *std::exchange(next_, std::nullopt);
    lock.unlock();
    Result<FetchedWeights> fetched = fetch(wanted, deadline);
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
