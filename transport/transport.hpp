// Weights from the learner to its generators: a sender at the learner, a receiver at each
// generator. They move bytes and know nothing of models; that a version is there, and that a
// generator took it, travels as records (WeightsReady, WeightsDelivered) beside them.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "messages/records.hpp"
#include "messages/result.hpp"

namespace tracewise {

// One version's buffer and what it consists of. Immutable. Whoever holds `bytes` keeps them as they
// are, wherever they lie and whatever is published meanwhile.
struct WeightsBuffer {
  WeightsManifest manifest;
  std::shared_ptr<const std::byte[]> bytes;  // [manifest.bytes], 64-byte aligned
};

// The learner's side. Any thread may call. Buffers outlive it.
class WeightsSender {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  virtual ~WeightsSender() = default;

  // 64-byte aligned storage, not initialised, to write a version into that publish() then need not
  // copy. By default the heap's; publish() takes any storage.
  virtual std::shared_ptr<std::byte[]> allocate(uint64_t bytes);

  // Offers `weights` in place of the version before it; versions only go up within an epoch, and
  // epochs only go up. Returns where receivers can fetch it from now on, and never waits for one of
  // them. kDeadline, kResource or kCancelled: not offered, the version before still is.
  [[nodiscard]] virtual Result<WeightsPlace> publish(WeightsBuffer weights, TimePoint deadline) = 0;

  // Ends every exchange of `epoch` and of epochs before it: fetches under them end with
  // kCancelled, and so does publishing.
  virtual void abort(uint64_t epoch) = 0;
};

// What a fetch brought, and what carried it: "local", "shm", "nccl" or "tcp".
struct FetchedWeights {
  WeightsBuffer buffer;
  std::string transport;
  std::vector<WeightsShare> shares = {};  // by "tcp": who gave it
  std::vector<std::string> warnings =
      {};  // sentences: what was wrong with places it can do without
};

// A generator's side. One thread at a time fetches; any may abort. Buffers outlive it.
class WeightsReceiver {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  virtual ~WeightsReceiver() = default;

  // The version that `wanted` names, whole and with its checksum checked. Blocks until it is here
  // or `deadline` (kDeadline); after a deadline in the past it gives what is there at once or
  // kDeadline. kCancelled: the epoch was aborted, or a newer version has replaced the wanted one; a
  // fetch that had begun by then may still end well. kCorrupt: what came is not what was announced.
  // kBadInput, kUnsupported: the learner's node refused us. kIo: it cannot be reached any more. On
  // failure the caller keeps what it has.
  [[nodiscard]] virtual Result<FetchedWeights> fetch(const WeightsReady& wanted,
                                                     TimePoint deadline) = 0;

  // Ends this receiver's fetches under `epoch` and epochs before it, those to come too, with
  // kCancelled.
  virtual void abort(uint64_t epoch) = 0;
};

// "weights version 3 of epoch 1", for messages.
std::string name_of(const WeightsManifest& manifest);

// kCancelled: the epoch of `manifest` was aborted.
Error aborted_error(const WeightsManifest& manifest);

// 64-byte aligned memory of the heap, not initialised.
std::shared_ptr<std::byte[]> allocate_on_heap(uint64_t bytes);

// Whether `a` comes after `b` in the order of publishing: by epoch, then by version.
bool is_newer(const WeightsManifest& a, const WeightsManifest& b);

}  // namespace tracewise
