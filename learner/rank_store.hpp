// What the ranks of a learner share until they are connected: a map of small values.
#pragma once

#include <chrono>
#include <string>

#include "messages/result.hpp"

namespace tracewise {

// One store a rank group and its making: keys that an older group left must not be seen. Whoever
// can write it can join the group, so it travels over authenticated messages. Any thread may call.
class RankStore {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  virtual ~RankStore() = default;

  // Keys are ASCII; values are bytes, some hundred at most. Each key is set once.
  virtual Result<void> set(const std::string& key, const std::string& value) = 0;

  // Blocks until `key` is set; kDeadline if it is not by `deadline`. Whoever wants to end the wait
  // early lets it fail with kCancelled.
  virtual Result<std::string> get(const std::string& key, TimePoint deadline) = 0;
};

}  // namespace tracewise
