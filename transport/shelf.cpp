#include "transport/shelf.hpp"

#include <algorithm>

namespace tracewise {
namespace {

// Far above the receivers of a run; it bounds what a node that never says goodbye can cost.
constexpr size_t kMaxTransfers = 4096;

bool same(const WeightsManifest& a, const WeightsManifest& b) {
  return a.version == b.version && a.epoch == b.epoch && a.bytes == b.bytes &&
         a.checksum == b.checksum;
}

}  // namespace

Result<void> Shelf::put(WeightsBuffer weights, TimePoint now) {
  auto made = std::make_shared<ShelfVersion>(weights);
  TW_TRY(offer_.put(std::move(weights)));
  end(previous_);
  previous_ = std::exchange(current_, std::move(made));
  tidy(now);
  return {};
}

Result<ShelfVersionPtr> Shelf::open(const TransferKey& key, const WeightsManifest& wanted,
                                    TimePoint expires, TimePoint now) {
  tidy(now);
  const auto begun = transfers_.find(key);
  if (begun != transfers_.end() && !begun->second.version->ended &&
      same(begun->second.version->buffer.manifest, wanted)) {
    ++begun->second.connections;
    begun->second.expires = std::max(begun->second.expires, expires);
    return ShelfVersionPtr(begun->second.version);
  }
  TW_ASSIGN(const bool here, offer_.has(wanted));
  if (!here) return ShelfVersionPtr();
  if (begun != transfers_.end() || transfers_.size() >= kMaxTransfers) {
    return Error{ErrorClass::kResource,
                 "too many fetches of weights at a time, or two with one number"};
  }
  transfers_[key] = {current_, 1, expires};
  return ShelfVersionPtr(current_);
}

void Shelf::close(const TransferKey& key, bool finished, TimePoint now) {
  const auto transfer = transfers_.find(key);
  if (transfer == transfers_.end()) return;  // its version has ended
  --transfer->second.connections;
  if (finished && transfer->second.connections <= 0) transfers_.erase(transfer);
  tidy(now);
}

Error Shelf::why_ended(const WeightsManifest& version) const {
  const auto here = offer_.has(version);
  TW_CHECK(!here.ok(), "a version has ended because it was aborted or replaced");
  return here.error();
}

void Shelf::abort(uint64_t epoch) {
  offer_.abort(epoch);
  for (auto* version : {&previous_, &current_}) {
    if (*version && offer_.aborted((*version)->buffer.manifest.epoch)) end(*version);
  }
}

void Shelf::tidy(TimePoint now) {
  std::erase_if(transfers_, [&](const auto& entry) {
    return entry.second.connections <= 0 && entry.second.expires <= now;
  });
  const bool needed = std::any_of(transfers_.begin(), transfers_.end(), [&](const auto& entry) {
    return entry.second.version == previous_;
  });
  if (!needed) previous_.reset();
}

void Shelf::end(std::shared_ptr<ShelfVersion>& version) {
  if (!version) return;
  version->ended = true;
  std::erase_if(transfers_, [&](const auto& entry) { return entry.second.version == version; });
  version.reset();
}

}  // namespace tracewise
