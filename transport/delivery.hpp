// The learner's book of who has taken which weights version. A version is delivered when every live
// receiver acknowledged it or a newer one; a lost receiver is waited for by nobody.
#pragma once

#include <cstdint>
#include <map>

#include "messages/records.hpp"

namespace tracewise {

// Not thread-safe.
class DeliveryBook {
 public:
  void join(uint32_t receiver) { taken_.try_emplace(receiver, 0); }
  void leave(uint32_t receiver) { taken_.erase(receiver); }

  // An acknowledgement stands for all versions up to its own. Unknown receivers are ignored: they
  // may have left while it was on its way.
  void acknowledge(const WeightsDelivered& delivered) {
    const auto it = taken_.find(delivered.generator);
    if (it != taken_.end() && it->second < delivered.version + 1) {
      it->second = delivered.version + 1;
    }
  }

  // Whether every receiver has taken `version` or a newer one.
  bool delivered(uint64_t version) const {
    for (const auto& [receiver, taken] : taken_) {
      if (taken < version + 1) return false;
    }
    return true;
  }

 private:
  std::map<uint32_t, uint64_t> taken_;  // newest acknowledged version + 1; 0: none yet
};

}  // namespace tracewise
