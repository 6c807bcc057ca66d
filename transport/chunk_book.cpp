#include "transport/chunk_book.hpp"

namespace tracewise {

std::optional<uint64_t> ChunkBook::take() {
  if (!returned_.empty()) return returned_.extract(returned_.begin()).value();
  if (next_ < chunks_) return next_++;
  return std::nullopt;
}

bool ChunkBook::spoiled(uint64_t chunk) {
  if (++spoils_[chunk] >= max_attempts_) return false;
  put_back(chunk);
  return true;
}

}  // namespace tracewise
