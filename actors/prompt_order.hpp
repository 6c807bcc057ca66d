// Which prompt a group is made from: a pure function of (seed, group), so the dataset cursor of a
// run is the number of its next group and nothing else has to be saved.
#pragma once

#include <cstdint>
#include <numeric>
#include <utility>
#include <vector>

#include "messages/check.hpp"
#include "messages/random.hpp"

namespace tracewise {

// Epochs follow each other; each visits every prompt once, in an order of its own when `shuffle`.
// Not thread-safe (it keeps the order of the epoch last asked for).
class PromptOrder {
 public:
  PromptOrder(uint64_t prompts, uint64_t seed, bool shuffle)
      : prompts_(prompts), seed_(seed), shuffle_(shuffle) {
    TW_CHECK(prompts > 0, "a prompt order needs at least one prompt");
  }

  // Index in [0, prompts) of the prompt of `group`.
  uint64_t index(uint64_t group) {
    const uint64_t position = group % prompts_;
    if (!shuffle_) return position;
    const uint64_t epoch = group / prompts_;
    if (order_.empty() || epoch != epoch_) reorder(epoch);
    return order_[position];
  }

 private:
  // Fisher and Yates.
  void reorder(uint64_t epoch) {
    order_.resize(prompts_);
    std::iota(order_.begin(), order_.end(), uint64_t{0});
    const uint64_t key = SplitMix(SplitMix(seed_).next() ^ epoch).next();
    for (uint64_t i = prompts_ - 1; i > 0; --i)
      std::swap(order_[i], order_[SplitMix(key + i).below(i + 1)]);
    epoch_ = epoch;
  }

  uint64_t prompts_;
  uint64_t seed_;
  bool shuffle_;
  uint64_t epoch_ = 0;
  std::vector<uint64_t> order_;
};

}  // namespace tracewise
