// The sender's segments of shared memory, used again and again: the page faults of a fresh one cost
// as much as filling it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "transport/transport.hpp"

namespace tracewise {

// Any thread may call. Storage outlives the pool.
class SegmentPool {
 public:
  // Holds as many segments at most: the version on offer, one that is being written, and those
  // that receivers still use.
  explicit SegmentPool(size_t max_segments);
  ~SegmentPool();
  SegmentPool(const SegmentPool&) = delete;
  SegmentPool& operator=(const SegmentPool&) = delete;

  // 64-byte aligned storage in a segment that neither this process nor a receiver uses; free again
  // when the last reference is dropped. Null: all segments are in use, or there is no memory.
  std::shared_ptr<std::byte[]> allocate(uint64_t bytes);

  // Whether `bytes` is the start of such storage and no receiver uses it: offer() takes it then.
  bool can_offer(const std::byte* bytes);

  // Offers what lies in such storage in place of what was offered before. The segment's descriptor.
  int offer(const WeightsBuffer& weights);

  // What is offered is to be found no more.
  void withdraw();

 private:
  struct State;
  std::shared_ptr<State> state_;  // owned by this and by all storage that is out
};

}  // namespace tracewise
