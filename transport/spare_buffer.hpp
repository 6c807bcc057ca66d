// Memory for weights that is used again: the page faults of a fresh gigabyte cost as much as
// filling it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace tracewise {

// Keeps one buffer that nobody uses any more for the next of its size. Any thread may call; buffers
// outlive it.
class SpareBuffer {
 public:
  SpareBuffer();
  ~SpareBuffer();

  // 64-byte aligned, with whatever it held before. Null: no memory.
  std::shared_ptr<std::byte[]> take(uint64_t bytes);

 private:
  struct Shelf;
  std::shared_ptr<Shelf> shelf_;  // owned by this and by every buffer that is out
};

}  // namespace tracewise
