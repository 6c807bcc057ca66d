// One rank of a group: a communicator that forms, and broadcasts in it, one after the other.
// Nothing here waits: whoever has a rank calls step() again and again, with a deadline of its own.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "messages/result.hpp"
#include "transport/checksum.hpp"
#include "transport/nccl_api.hpp"

namespace tracewise {

// What a step found.
enum class NcclStep {
  kIdle,     // nothing is under way: formed, or the broadcast is done
  kMoved,    // something was done, and more may be possible at once
  kWaiting,  // for the device or another rank
};

// Not thread-safe. Its end aborts the communicator.
//
//              step()           send(), receive()
//     forming ---------> idle <-------------------> casting
//        |                |           step()           |
//        +----------------+-------- an error ----------+----> over
class NcclRank {
 public:
  // Begins to be `rank` of `ranks`, whose broadcasts come from rank 0 in buckets of `bucket_bytes`.
  // `nccl` outlives the rank.
  [[nodiscard]] static Result<std::unique_ptr<NcclRank>> begin(Nccl& nccl, const NcclId& id,
                                                               int ranks, int rank,
                                                               uint64_t bucket_bytes);
  ~NcclRank();
  NcclRank(const NcclRank&) = delete;
  NcclRank& operator=(const NcclRank&) = delete;

  // Begins a broadcast, as rank 0 or as another: all ranks the same number of bytes. Only when
  // idle. The bytes stay where they are until it is done or the rank is gone.
  void send(std::span<const std::byte> bytes);
  void receive(std::span<std::byte> bytes);

  // Does the next thing that can be done now: one bucket's copy at most. After an error the
  // communicator is aborted, and all that is left to do is to destroy the rank.
  [[nodiscard]] Result<NcclStep> step();

  // xxh3-64 of what the last broadcast brought, once it is done.
  uint64_t checksum() const { return sum_->sum(); }

 private:
  NcclRank(std::unique_ptr<NcclComm> comm, uint64_t bucket_bytes);
  void cast(uint64_t bytes);
  Result<NcclStep> advance();
  Result<void> post();
  Result<void> take();
  uint64_t bucket_size(uint64_t bucket) const;

  const std::unique_ptr<NcclComm> comm_;
  const uint64_t bucket_bytes_;
  std::span<const std::byte> source_;
  std::span<std::byte> sink_;  // empty: this rank sends
  uint64_t bytes_ = 0;         // of the broadcast
  uint64_t buckets_ = 0;       // of it; those before posted_ were handed to NCCL, those before
  uint64_t posted_ = 0;        // marked_ are set up, those before passed_ are done
  uint64_t marked_ = 0;
  uint64_t passed_ = 0;
  bool over_ = false;
  std::optional<Xxh3> sum_;
};

}  // namespace tracewise
