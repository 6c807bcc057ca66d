// The one version that a sender offers, and which fetches it can still answer.
#pragma once

#include <cstdint>
#include <optional>

#include "transport/transport.hpp"

namespace tracewise {

// Not thread-safe.
class Offer {
 public:
  // In place of the version before it, which it must be newer than. kCancelled: its epoch was
  // aborted.
  [[nodiscard]] Result<void> put(WeightsBuffer weights);

  // Whether `wanted` is what is offered; false: it is still to be published. kCancelled: its epoch
  // was aborted, or it was replaced. kCorrupt: the offered buffer is another than `wanted` says.
  [[nodiscard]] Result<bool> has(const WeightsManifest& wanted) const;

  // Nothing of `epoch` or epochs before it is offered any more.
  void abort(uint64_t epoch);
  bool aborted(uint64_t epoch) const { return epoch < first_live_epoch_; }

  const std::optional<WeightsBuffer>& current() const { return current_; }

 private:
  std::optional<WeightsBuffer> current_;
  std::optional<WeightsManifest> newest_;  // that was ever offered
  uint64_t first_live_epoch_ = 0;
};

}  // namespace tracewise
