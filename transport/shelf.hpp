// The versions that a sender still sends over connections: the one on offer, and the one before it
// while fetches of it run.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "transport/offer.hpp"
#include "transport/transport.hpp"

namespace tracewise {

// A version that is kept for whoever sends it. Shared by the shelf and the connections that send
// it; they look at `ended` between two writes and let it go.
struct ShelfVersion {
  explicit ShelfVersion(WeightsBuffer weights) : buffer(std::move(weights)) {}
  const WeightsBuffer buffer;
  std::atomic<bool> ended = false;  // not to be sent any more
};
using ShelfVersionPtr = std::shared_ptr<const ShelfVersion>;

// A fetch, which may come over several connections: the node that makes it and its number.
struct TransferKey {
  std::string node;
  uint64_t transfer = 0;
  auto operator<=>(const TransferKey&) const = default;
};

// Not thread-safe.
class Shelf {
 public:
  using TimePoint = WeightsSender::TimePoint;

  // In place of the one on offer. That one is kept if fetches of it run; the one before is not.
  [[nodiscard]] Result<void> put(WeightsBuffer weights, TimePoint now);

  // A connection for a fetch, which is remembered until `expires`. A fetch that had begun goes on
  // with its version although another has replaced it. Null: `wanted` is still to be published.
  // Otherwise as Offer::has(); kResource: too many fetches.
  [[nodiscard]] Result<ShelfVersionPtr> open(const TransferKey& key, const WeightsManifest& wanted,
                                             TimePoint expires, TimePoint now);

  // The end of such a connection. `finished`: the receiver said goodbye. Otherwise the fetch may
  // go on over another connection.
  void close(const TransferKey& key, bool finished, TimePoint now);

  // Why a version has ended.
  [[nodiscard]] Error why_ended(const WeightsManifest& version) const;

  void abort(uint64_t epoch);

 private:
  struct Transfer {
    std::shared_ptr<ShelfVersion> version;
    int connections = 0;
    TimePoint expires;
  };
  void tidy(TimePoint now);
  void end(std::shared_ptr<ShelfVersion>& version);

  Offer offer_;
  std::shared_ptr<ShelfVersion> current_;
  std::shared_ptr<ShelfVersion> previous_;
  std::map<TransferKey, Transfer> transfers_;
};

}  // namespace tracewise
