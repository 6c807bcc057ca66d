#include "transport/offer.hpp"

#include <algorithm>
#include <string>
#include <utility>

namespace tracewise {
namespace {

Error cancelled(std::string message) { return {ErrorClass::kCancelled, std::move(message)}; }

}  // namespace

Result<void> Offer::put(WeightsBuffer weights) {
  if (aborted(weights.manifest.epoch)) {
    return cancelled(name_of(weights.manifest) + " was not offered: its epoch was aborted");
  }
  TW_CHECK(!newest_ || is_newer(weights.manifest, *newest_), "weights versions must go up");
  newest_ = weights.manifest;
  current_ = std::move(weights);
  return {};
}

Result<bool> Offer::has(const WeightsManifest& wanted) const {
  if (aborted(wanted.epoch)) return aborted_error(wanted);
  if (!newest_ || is_newer(wanted, *newest_)) return false;
  if (is_newer(*newest_, wanted)) {
    return cancelled(name_of(wanted) + " was replaced by " + name_of(*newest_));
  }
  if (newest_->checksum != wanted.checksum || newest_->bytes != wanted.bytes) {
    return corrupt(name_of(wanted) + " is not the buffer that was announced: checksum " +
                   std::to_string(newest_->checksum) + " instead of " +
                   std::to_string(wanted.checksum));
  }
  return true;
}

void Offer::abort(uint64_t epoch) {
  first_live_epoch_ = std::max(first_live_epoch_, epoch + 1);
  if (current_ && aborted(current_->manifest.epoch)) current_.reset();
}

}  // namespace tracewise
