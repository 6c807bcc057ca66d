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
  void join(uint32_t receiver) {
    if (taken_.try_emplace(receiver, 0).second) ++receivers_[0];
  }
  void leave(uint32_t receiver) {
    const auto it = taken_.find(receiver);
    if (it == taken_.end()) return;
    uncount(it->second);
    taken_.erase(it);
  }

  // An acknowledgement stands for all versions up to its own. Unknown receivers are ignored: they
  // may have left while it was on its way.
  void acknowledge(const WeightsDelivered& delivered) {
    const auto it = taken_.find(delivered.generator);
    if (it == taken_.end() || it->second >= delivered.version + 1) return;
    uncount(it->second);
    it->second = delivered.version + 1;
    ++receivers_[it->second];
  }

  // Whether every receiver has taken `version` or a newer one.
  bool delivered(uint64_t version) const {
    return receivers_.empty() || receivers_.begin()->first >= version + 1;
  }

 private:
  void uncount(uint64_t taken) {
    const auto it = receivers_.find(taken);
    if (--it->second == 0) receivers_.erase(it);
  }

  std::map<uint32_t, uint64_t> taken_;      // newest acknowledged version + 1; 0: none yet
  std::map<uint64_t, uint64_t> receivers_;  // how many have taken what
};

}  // namespace tracewise
