#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "transport/transport.hpp"

namespace tracewise {
namespace {

std::string name_of(const WeightsManifest& manifest) {
  return "weights version " + std::to_string(manifest.version) + " of epoch " +
         std::to_string(manifest.epoch);
}

Error cancelled(std::string message) { return {ErrorClass::kCancelled, std::move(message)}; }

class LocalTransport final : public Transport {
 public:
  Result<void> publish(WeightsBuffer weights, TimePoint) override {
    const std::lock_guard lock(mutex_);
    if (aborted(weights.manifest.epoch)) {
      return cancelled(name_of(weights.manifest) + " was not offered: its epoch was aborted");
    }
    TW_CHECK(!offered_ || weights.manifest.epoch > offered_->manifest.epoch ||
                 weights.manifest.version > offered_->manifest.version,
             "weights versions must go up");
    offered_ = std::move(weights);
    changed_.notify_all();
    return {};
  }

  Result<WeightsBuffer> fetch(const WeightsManifest& wanted, TimePoint deadline) override {
    std::unique_lock lock(mutex_);
    const bool settled = changed_.wait_until(lock, deadline, [&] {
      return aborted(wanted.epoch) || (offered_ && offered_->manifest.version >= wanted.version);
    });
    if (aborted(wanted.epoch)) return cancelled(name_of(wanted) + " was aborted");
    if (!settled) {
      return Error{ErrorClass::kDeadline, name_of(wanted) + " was not offered in time"};
    }
    const WeightsManifest& there = offered_->manifest;
    if (there.version > wanted.version) {
      return cancelled(name_of(wanted) + " was replaced by " + name_of(there));
    }
    if (there.checksum != wanted.checksum || there.bytes != wanted.bytes) {
      return corrupt(name_of(wanted) + " is not the buffer that was announced: checksum " +
                     std::to_string(there.checksum) + " instead of " +
                     std::to_string(wanted.checksum));
    }
    return *offered_;
  }

  void abort(uint64_t epoch) override {
    const std::lock_guard lock(mutex_);
    first_live_epoch_ = std::max(first_live_epoch_, epoch + 1);
    changed_.notify_all();
  }

 private:
  bool aborted(uint64_t epoch) const { return epoch < first_live_epoch_; }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<WeightsBuffer> offered_;
  uint64_t first_live_epoch_ = 0;
};

}  // namespace

std::unique_ptr<Transport> make_local_transport() { return std::make_unique<LocalTransport>(); }

}  // namespace tracewise
