// Weights from the learner to its generators. A transport moves bytes and knows nothing of models;
// that a version is there, and that a generator took it, travels as records (WeightsReady,
// WeightsDelivered) beside it.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "messages/records.hpp"
#include "messages/result.hpp"

namespace tracewise {

// One version's buffer and what it consists of. Immutable.
struct WeightsBuffer {
  WeightsManifest manifest;
  std::shared_ptr<const std::byte[]> bytes;  // [manifest.bytes]
};

// Any thread may call; the learner publishes, generators fetch, whoever watches over the membership
// aborts. Outlives its users.
class Transport {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  virtual ~Transport() = default;

  // Offers `weights` in place of the version before it; versions only go up within an epoch.
  // Returns once receivers can fetch it and never waits for one of them. kDeadline or kCancelled:
  // not offered, the version before still is.
  [[nodiscard]] virtual Result<void> publish(WeightsBuffer weights, TimePoint deadline) = 0;

  // The version that `wanted` names, with its checksum checked. Blocks until it is here or
  // `deadline` (kDeadline); a deadline in the past polls. kCancelled: the epoch was aborted, or a
  // newer version has replaced the wanted one. On failure the receiver keeps what it has.
  [[nodiscard]] virtual Result<WeightsBuffer> fetch(const WeightsManifest& wanted,
                                                    TimePoint deadline) = 0;

  // Ends every exchange of `epoch` and of epochs before it: fetches that wait return kCancelled,
  // and so does publishing under such an epoch.
  virtual void abort(uint64_t epoch) = 0;
};

// Same process: receivers share the learner's buffer. The checksum is the one that the manifest
// states; nothing was copied, so there is nothing to add up again.
std::unique_ptr<Transport> make_local_transport();

}  // namespace tracewise
