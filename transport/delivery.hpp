// The learner's book of who has taken which weights version. A version is delivered when every live
// receiver acknowledged it or a newer one; a lost receiver is waited for by nobody.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>

#include "messages/records.hpp"

namespace tracewise {

// Not thread-safe. Time is an argument.
class DeliveryBook {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  struct Overdue {
    uint32_t receiver = 0;
    uint64_t version = 0;  // the oldest one that it still owes an acknowledgement for
  };

  void join(uint32_t receiver) { receivers_.try_emplace(receiver); }
  void leave(uint32_t receiver) { receivers_.erase(receiver); }

  // `version` was announced to `receiver` and is to be acknowledged by `deadline`.
  void announce(uint32_t receiver, uint64_t version, TimePoint deadline) {
    const auto it = receivers_.find(receiver);
    if (it != receivers_.end()) it->second.open.emplace(version, deadline);
  }

  // An acknowledgement stands for all versions up to its own. Unknown receivers are ignored: they
  // may have left while it was on its way.
  void acknowledge(const WeightsDelivered& delivered) {
    const auto it = receivers_.find(delivered.generator);
    if (it == receivers_.end()) return;
    auto& open = it->second.open;
    open.erase(open.begin(), open.upper_bound(delivered.version));
    if (delivered.version + 1 > it->second.taken) it->second.taken = delivered.version + 1;
  }

  // Whether every receiver has taken `version` or a newer one.
  bool delivered(uint64_t version) const {
    for (const auto& [id, receiver] : receivers_) {
      if (receiver.taken < version + 1) return false;
    }
    return true;
  }

  // The first receiver whose deadline has passed.
  std::optional<Overdue> overdue(TimePoint now) const {
    for (const auto& [id, receiver] : receivers_) {
      for (const auto& [version, deadline] : receiver.open) {
        if (deadline <= now) return Overdue{id, version};
      }
    }
    return std::nullopt;
  }

 private:
  struct Receiver {
    uint64_t taken = 0;                  // newest acknowledged version + 1; 0: none yet
    std::map<uint64_t, TimePoint> open;  // announced, not acknowledged: version -> deadline
  };
  std::map<uint32_t, Receiver> receivers_;
};

}  // namespace tracewise
