// The receivers of a node's generators, so that the node can end their waits.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "transport/transport.hpp"

namespace tracewise {

// Any thread may call.
class Receivers {
 public:
  explicit Receivers(std::function<std::unique_ptr<WeightsReceiver>()> make)
      : make_(std::move(make)) {}

  // Of a new generator.
  std::shared_ptr<WeightsReceiver> make() {
    std::shared_ptr<WeightsReceiver> receiver = make_();
    const std::lock_guard lock(mutex_);
    std::erase_if(made_, [](const auto& old) { return old.expired(); });
    made_.push_back(receiver);
    if (aborted_) receiver->abort(UINT64_MAX - 1);
    return receiver;
  }

  // Nobody waits for weights any more.
  void abort() {
    const std::lock_guard lock(mutex_);
    aborted_ = true;
    for (const auto& weak : made_) {
      if (const auto receiver = weak.lock()) receiver->abort(UINT64_MAX - 1);
    }
  }

 private:
  const std::function<std::unique_ptr<WeightsReceiver>()> make_;
  std::mutex mutex_;
  std::vector<std::weak_ptr<WeightsReceiver>> made_;
  bool aborted_ = false;
};

}  // namespace tracewise
