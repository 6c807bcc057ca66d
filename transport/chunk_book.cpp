#include "transport/chunk_book.hpp"

namespace tracewise {

std::optional<uint64_t> ChunkBook::take() {
  if (!returned_.empty()) return returned_.extract(returned_.begin()).value();
  if (next_ < chunks_) return next_++;
  return std::nullopt;
}

void ChunkBook::arrived(uint64_t chunk) {
  ++here_;
  ahead_.insert(chunk);
}

std::optional<uint64_t> ChunkBook::follow() {
  if (ahead_.empty() || *ahead_.begin() != followed_) return std::nullopt;
  ahead_.erase(ahead_.begin());
  return followed_++;
}

bool ChunkBook::spoiled(uint64_t chunk) {
  if (++spoils_[chunk] >= max_attempts_) return false;
  put_back(chunk);
  return true;
}

}  // namespace tracewise
