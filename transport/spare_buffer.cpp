#include "transport/spare_buffer.hpp"

#include <sys/mman.h>

#include <cstdlib>
#include <mutex>
#include <utility>

namespace tracewise {
namespace {

// Of the CPU's large pages, where the system has them: one fault instead of 512.
constexpr uint64_t kLargePage = uint64_t{2} << 20;

struct Memory {
  struct Free {
    void operator()(std::byte* p) const { std::free(p); }
  };
  std::unique_ptr<std::byte, Free> start;
  uint64_t bytes = 0;
};

Memory fresh(uint64_t bytes) {
  const uint64_t alignment = bytes >= kLargePage ? kLargePage : 64;
  const uint64_t rounded = (bytes / alignment + 1) * alignment;
  Memory memory;
  memory.start.reset(static_cast<std::byte*>(std::aligned_alloc(alignment, rounded)));
  memory.bytes = bytes;
  // Advice: without large pages it does nothing.
  if (memory.start && alignment == kLargePage) {
    ::madvise(memory.start.get(), rounded, MADV_HUGEPAGE);
  }
  return memory;
}

}  // namespace

struct SpareBuffer::Shelf {
  std::mutex mutex;
  Memory spare;
  bool closed = false;  // nobody takes any more
};

SpareBuffer::SpareBuffer() : shelf_(std::make_shared<Shelf>()) {}

SpareBuffer::~SpareBuffer() {
  const std::lock_guard lock(shelf_->mutex);
  shelf_->closed = true;
  shelf_->spare = {};
}

std::shared_ptr<std::byte[]> SpareBuffer::take(uint64_t bytes) {
  Memory memory;
  {
    const std::lock_guard lock(shelf_->mutex);
    memory = std::exchange(shelf_->spare, {});
  }
  if (!memory.start || memory.bytes != bytes) memory = {};
  if (!memory.start) memory = fresh(bytes);
  if (!memory.start) return nullptr;
  return {memory.start.release(), [shelf = shelf_, bytes](std::byte* start) {
            Memory back{decltype(Memory::start)(start), bytes};
            const std::lock_guard lock(shelf->mutex);
            if (!shelf->closed) std::swap(shelf->spare, back);
          }};
}

}  // namespace tracewise
