#include "model/weights.hpp"

#include <cstdlib>
#include <new>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace tracewise {

std::shared_ptr<std::byte[]> allocate_weights(uint64_t bytes) {
  const uint64_t rounded = (bytes + 63) / 64 * 64;
  auto* storage = static_cast<std::byte*>(std::aligned_alloc(64, rounded == 0 ? 64 : rounded));
  if (storage == nullptr) throw std::bad_alloc();
  return {storage, [](std::byte* p) { std::free(p); }};
}

uint64_t weights_checksum(std::span<const std::byte> bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

}  // namespace tracewise
