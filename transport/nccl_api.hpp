// The calls of NCCL and CUDA that weights are broadcast with, and no more than that: what is done
// with them, and when, is transport/nccl_rank.hpp's, which tests run on a fake of these.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "messages/result.hpp"

namespace tracewise {

// What the ranks of a communicator find each other by (ncclUniqueId).
using NcclId = std::array<std::byte, 128>;

// Pieces of device memory that a communicator broadcasts from and into: while one is on its way the
// next is filled.
inline constexpr int kNcclSlots = 2;

// One rank's handle of a communicator that was begun without blocking, with its slots and its
// stream. One thread at a time calls. None of the calls waits for another rank. After an error, or
// abort(), it may only be aborted and destroyed.
class NcclComm {
 public:
  virtual ~NcclComm() = default;  // aborts

  // ncclCommGetAsyncError: whether what was begun, the communicator itself or a broadcast, is set
  // up (ncclSuccess rather than ncclInProgress).
  [[nodiscard]] virtual Result<bool> settled() = 0;

  // Copies `bytes` (at most the slot's size) into a slot or out of it, on a stream of their own, so
  // that a broadcast that hangs does not hold them up. Block for as long as the copy takes.
  [[nodiscard]] virtual Result<void> upload(int slot, std::span<const std::byte> bytes) = 0;
  [[nodiscard]] virtual Result<void> download(int slot, std::span<std::byte> bytes) = 0;

  // ncclBroadcast of a slot's first `bytes` bytes, in place. Only while settled; the slot is the
  // broadcast's until it has passed.
  [[nodiscard]] virtual Result<void> broadcast(int slot, uint64_t bytes, int root) = 0;

  // cudaEventRecord behind a slot's broadcast, once that is settled, and cudaEventQuery.
  [[nodiscard]] virtual Result<void> mark(int slot) = 0;
  [[nodiscard]] virtual Result<bool> passed(int slot) = 0;

  // ncclCommAbort: ends everything that is under way. It is the only way a communicator ends here:
  // of one that is idle it frees the same as ncclCommDestroy, which waits for other ranks.
  virtual void abort() = 0;
};

// NCCL on one device. One thread at a time calls, and has one communicator at a time.
class Nccl {
 public:
  virtual ~Nccl() = default;

  // Names the GPU, the same in every process that uses it: a communicator has each GPU once.
  virtual std::string gpu() const = 0;

  // ncclGetUniqueId. Its process serves the ranks that come by that id: NCCL keeps a thread and a
  // listening socket until all have come, forever if one never does.
  [[nodiscard]] virtual Result<NcclId> unique_id() = 0;

  // ncclCommInitRankConfig with blocking = 0, and slots of `slot_bytes` each. kResource: no memory
  // on the device.
  [[nodiscard]] virtual Result<std::unique_ptr<NcclComm>> begin(const NcclId& id, int ranks,
                                                                int rank, uint64_t slot_bytes) = 0;
};

// "cuda:N". kUnsupported: this build has no NCCL, or that device cannot be used.
[[nodiscard]] Result<std::unique_ptr<Nccl>> open_nccl(const std::string& device);

// Whether this build has NCCL.
bool has_nccl();

// The error that the value of an ncclResult_t other than ncclSuccess and ncclInProgress stands for.
// `call` names what failed.
Error nccl_error(int result, const std::string& call);

}  // namespace tracewise
