// Who owns which block of the KV cache: reference counts and copy on write. No memory is touched
// here.
#pragma once

#include <cstdint>
#include <vector>

namespace tracewise {

class BlockAllocator {
 public:
  explicit BlockAllocator(int64_t blocks);

  int64_t total() const { return static_cast<int64_t>(references_.size()); }
  int64_t free() const { return static_cast<int64_t>(free_.size()); }

  // A block with one reference, or -1 when none is free.
  int32_t allocate();
  void share(int32_t block);    // one more reference
  void release(int32_t block);  // one less; the last one frees the block
  bool shared(int32_t block) const { return references_[block] > 1; }

 private:
  std::vector<int32_t> references_;  // [blocks]
  std::vector<int32_t> free_;        // a stack
};

}  // namespace tracewise
