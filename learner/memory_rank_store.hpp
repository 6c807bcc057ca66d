// A rank store for ranks of one process.
#pragma once

#include <map>
#include <mutex>
#include <string>

#include "learner/rank_store.hpp"
#include "messages/waits.hpp"

namespace tracewise {

// Any thread may call.
class MemoryRankStore final : public RankStore {
 public:
  Result<void> set(const std::string& key, const std::string& value) override {
    const std::lock_guard lock(mutex_);
    values_[key] = value;
    changed_.notify_all();
    return {};
  }
  Result<std::string> get(const std::string& key, TimePoint deadline) override {
    std::unique_lock lock(mutex_);
    Wait(key, "the other ranks", deadline).on(changed_, lock, [&] {
      return closed_ || values_.contains(key);
    });
    if (closed_) return Error{ErrorClass::kCancelled, "the store was closed"};
    if (!values_.contains(key)) return Error{ErrorClass::kDeadline, "nobody set " + key};
    return values_[key];
  }
  // Ends all waits.
  void close() {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  Condition changed_;
  std::map<std::string, std::string> values_;
  bool closed_ = false;
};

}  // namespace tracewise
