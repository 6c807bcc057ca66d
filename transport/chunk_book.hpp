// Which chunks of a version a fetch still needs.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>

namespace tracewise {

// Each chunk is missing, under way, or here. Not thread-safe. Memory: a few bytes for each chunk
// that was put back or came out of order.
class ChunkBook {
 public:
  ChunkBook(uint64_t chunks, int max_attempts) : chunks_(chunks), max_attempts_(max_attempts) {}

  // The first missing chunk, which is under way from now on.
  std::optional<uint64_t> take();
  // It did not come: missing again.
  void put_back(uint64_t chunk) { returned_.insert(chunk); }
  void arrived(uint64_t chunk);
  // It came with another checksum than announced: missing again. False: that has happened
  // max_attempts times to it, and there is no use in more.
  bool spoiled(uint64_t chunk);

  // The first chunk that follow() did not give yet, if it is here: chunks in order, each once.
  std::optional<uint64_t> follow();

  uint64_t here() const { return here_; }
  uint64_t chunks() const { return chunks_; }
  bool missing() const { return !returned_.empty() || next_ < chunks_; }  // something to take
  bool complete() const { return here_ == chunks_; }

 private:
  const uint64_t chunks_;
  const int max_attempts_;
  uint64_t next_ = 0;  // from here on nothing was taken yet
  uint64_t here_ = 0;
  uint64_t followed_ = 0;     // the next of follow()
  std::set<uint64_t> ahead_;  // here, and not yet followed
  std::set<uint64_t> returned_;
  std::map<uint64_t, int> spoils_;
};

}  // namespace tracewise
