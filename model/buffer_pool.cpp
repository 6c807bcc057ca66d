#include "model/buffer_pool.hpp"

#include <c10/core/CPUAllocator.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <list>
#include <mutex>
#include <unordered_map>

namespace tracewise {
namespace {

constexpr size_t kLarge = size_t{1} << 20;

// One of eight sizes between two powers of two, so that batches of nearly the same length share.
size_t size_class(size_t bytes) {
  const size_t step = std::bit_floor(bytes) / 8;
  return (bytes + step - 1) / step * step;
}

class BufferPool final : public c10::Allocator {
 public:
  explicit BufferPool(c10::Allocator& below) : below_(below) {}

  c10::DataPtr allocate(size_t bytes) override {
    if (bytes < kLarge) return below_.allocate(bytes);
    const size_t size = size_class(bytes);
    void* memory = take(size);
    if (memory == nullptr) {
      memory = below_.raw_allocate(size);
      const std::lock_guard lock(mutex_);
      in_use_[memory] = size;
    }
    return {memory, memory, &BufferPool::give_back, c10::Device(c10::kCPU)};
  }

  c10::DeleterFnPtr raw_deleter() const override { return &BufferPool::give_back; }

  void copy_data(void* to, const void* from, size_t bytes) const override {
    std::memcpy(to, from, bytes);
  }

  uint64_t kept_bytes() {
    const std::lock_guard lock(mutex_);
    return kept_bytes_;
  }

  static BufferPool& instance() {
    // Never destroyed: tensors may outlive every other object.
    static auto* const pool = new BufferPool(*c10::GetDefaultCPUAllocator());
    return *pool;
  }

 private:
  struct Buffer {
    void* memory;
    size_t size;
  };

  // A kept buffer of that size, the warmest, or null where the system has to give one.
  void* take(size_t size) {
    std::list<Buffer> dropped;
    {
      const std::lock_guard lock(mutex_);
      used_bytes_ += size;
      most_used_ = std::max(most_used_, used_bytes_);
      const auto last = std::find_if(kept_.rbegin(), kept_.rend(),
                                     [&](const Buffer& kept) { return kept.size == size; });
      if (last != kept_.rend()) {
        void* const found = last->memory;
        kept_bytes_ -= size;
        kept_.erase(std::prev(last.base()));
        in_use_[found] = size;
        return found;
      }
      while (!kept_.empty() && used_bytes_ + kept_bytes_ > most_used_) {
        kept_bytes_ -= kept_.front().size;
        dropped.splice(dropped.end(), kept_, kept_.begin());
      }
    }
    for (const Buffer& buffer : dropped) below_.raw_deallocate(buffer.memory);
    return nullptr;
  }

  // Also of small tensors that were made through raw_allocate(), and of null.
  static void give_back(void* memory) {
    BufferPool& pool = instance();
    {
      const std::lock_guard lock(pool.mutex_);
      const auto found = pool.in_use_.find(memory);
      if (found != pool.in_use_.end()) {
        pool.used_bytes_ -= found->second;
        pool.kept_bytes_ += found->second;
        pool.kept_.push_back({memory, found->second});
        pool.in_use_.erase(found);
        return;
      }
    }
    pool.below_.raw_deallocate(memory);
  }

  c10::Allocator& below_;
  std::mutex mutex_;
  std::unordered_map<void*, size_t> in_use_;  // sizes
  std::list<Buffer> kept_;                    // in the order in which they were given back
  uint64_t used_bytes_ = 0, kept_bytes_ = 0, most_used_ = 0;
};

}  // namespace

void pool_large_buffers() { c10::SetCPUAllocator(&BufferPool::instance(), /*priority=*/1); }

uint64_t pooled_bytes() { return BufferPool::instance().kept_bytes(); }

}  // namespace tracewise
