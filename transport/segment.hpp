// A version in memory that processes of one host share: an anonymous file (memfd) of the sender's,
// which receivers open through /proc and map read-only. It has no name, so nothing is left behind
// however a process ends. A header page comes first, the content after it.
//
// Receivers hold a version by a shared lock on an open file description of their own, which the
// kernel drops with the process, however it ends. The sender writes only while it has the exclusive
// lock. A receiver keeps the last mapping that it has let go of, without the lock: the sender
// writes its segments in turn, and the page faults of a fresh mapping cost as much as checking it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "messages/records.hpp"
#include "messages/result.hpp"
#include "transport/socket.hpp"
#include "transport/transport.hpp"

namespace tracewise {

struct SegmentHeader;

// The sender's end. Not thread-safe.
class Segment {
 public:
  // Sealed against any change of its size and against writers but this one; locked by the sender.
  // kResource: no memory. kUnsupported: the system has no such memory.
  [[nodiscard]] static Result<std::unique_ptr<Segment>> create(uint64_t bytes);
  ~Segment();
  Segment(const Segment&) = delete;
  Segment& operator=(const Segment&) = delete;

  // Takes the exclusive lock; false: a receiver still holds what is in it.
  bool try_lock();
  void unlock();

  std::span<std::byte> content() const;  // [bytes], to be written while locked
  int fd() const { return fd_.get(); }

  // Makes the content that of `manifest`, for receivers to find; unlocks. Without a manifest: what
  // was offered is to be found no more, whoever has it keeps it.
  void offer(const WeightsManifest& manifest);
  void withdraw();

 private:
  Segment(Fd fd, std::byte* start, uint64_t mapped_bytes, uint64_t bytes);
  bool lock(short type);
  SegmentHeader& header() const;

  Fd fd_;
  std::byte* start_;
  uint64_t mapped_bytes_;
  uint64_t bytes_;
};

// The receiver's end. Any thread may call; buffers outlive it.
class SegmentReader {
 public:
  SegmentReader();
  ~SegmentReader();
  SegmentReader(const SegmentReader&) = delete;
  SegmentReader& operator=(const SegmentReader&) = delete;

  // The content of the segment at `place`, where `manifest` is to be found, checked and held until
  // nobody uses it any more. Never waits. kUnsupported: it cannot be opened from here. kCancelled:
  // it holds another version by now. kCorrupt: it is not what was announced.
  [[nodiscard]] Result<WeightsBuffer> map(const WeightsManifest& manifest,
                                          const WeightsPlace& place);

 private:
  struct State;
  std::shared_ptr<State> state_;  // owned by this and by every buffer that is out
};

}  // namespace tracewise
