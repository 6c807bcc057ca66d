#include "rollout/block_allocator.hpp"

#include "messages/check.hpp"

namespace tracewise {

BlockAllocator::BlockAllocator(int64_t blocks) : references_(blocks, 0) {
  free_.reserve(blocks);
  for (int64_t b = blocks - 1; b >= 0; --b) free_.push_back(static_cast<int32_t>(b));
}

int32_t BlockAllocator::allocate() {
  if (free_.empty()) return -1;
  const int32_t block = free_.back();
  free_.pop_back();
  references_[block] = 1;
  return block;
}

void BlockAllocator::share(int32_t block) {
  TW_CHECK(references_[block] > 0, "a free block cannot be shared");
  ++references_[block];
}

void BlockAllocator::release(int32_t block) {
  TW_CHECK(references_[block] > 0, "a block was released twice");
  if (--references_[block] == 0) free_.push_back(block);
}

}  // namespace tracewise
