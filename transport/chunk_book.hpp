// Which chunks of a version a fetch still needs.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>

namespace tracewise {

// Each chunk is missing, under way, or here. Not thread-safe. Memory: what was put back.
class ChunkBook {
 public:
  ChunkBook(uint64_t chunks, int max_attempts) : chunks_(chunks), max_attempts_(max_attempts) {}

  // The first missing chunk, which is under way from now on.
  std::optional<uint64_t> take();
  // It did not come: missing again.
  void put_back(uint64_t chunk) { returned_.insert(chunk); }
  void arrived(uint64_t) { ++here_; }
  // It came with another checksum than announced: missing again. False: that has happened
  // max_attempts times to it, and there is no use in more.
  bool spoiled(uint64_t chunk);

  uint64_t here() const { return here_; }
  uint64_t chunks() const { return chunks_; }
  bool complete() const { return here_ == chunks_; }

 private:
  const uint64_t chunks_;
  const int max_attempts_;
  uint64_t next_ = 0;  // from here on nothing was taken yet
  uint64_t here_ = 0;
  std::set<uint64_t> returned_;
  std::map<uint64_t, int> spoils_;
};

}  // namespace tracewise
