#include "actors/activity.hpp"

#include <algorithm>
#include <utility>

namespace tracewise {

void SpanBuffer::add(std::string actor, std::string name, std::string awaited, TimePoint begin,
                     TimePoint end) {
  const std::lock_guard lock(mutex_);
  Kept span{std::move(actor), std::move(name), std::move(awaited), begin, end};
  if (kept_.size() < kMost) {
    kept_.push_back(std::move(span));
    return;
  }
  kept_[oldest_] = std::move(span);
  oldest_ = (oldest_ + 1) % kMost;
}

std::vector<Span> SpanBuffer::take(TimePoint now) {
  std::vector<Kept> kept;
  {
    const std::lock_guard lock(mutex_);
    std::rotate(kept_.begin(), kept_.begin() + static_cast<ptrdiff_t>(oldest_), kept_.end());
    kept = std::exchange(kept_, {});
    oldest_ = 0;
  }
  const auto ago = [now](TimePoint at) { return std::chrono::duration<double>(now - at).count(); };
  std::vector<Span> spans;
  spans.reserve(kept.size());
  for (Kept& k : kept) {
    spans.push_back(
        {std::move(k.actor), std::move(k.name), std::move(k.awaited), ago(k.begin), ago(k.end)});
  }
  return spans;
}

void Activity::was(std::string_view state, TimePoint now) {
  if (state != name_ && now - end_ >= kLeast) {
    close();
    name_ = state;
    begin_ = end_;
  }
  end_ = now;
}

void Activity::close() {
  if (end_ - begin_ >= kLeast) spans_->add(actor_, name_, "", begin_, end_);
  begin_ = end_;
}

}  // namespace tracewise
