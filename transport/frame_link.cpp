#include "transport/frame_link.hpp"

#include <poll.h>

#include <algorithm>
#include <array>
#include <utility>

namespace tracewise {
namespace {

using State = TlsStep::State;

bool would_block(const TlsStep& step) {
  return step.state == State::kWantRead || step.state == State::kWantWrite;
}

Error ended(const TlsStep& step) { return io_error("the connection ended: " + step.message); }

}  // namespace

FrameLink::FrameLink(std::unique_ptr<TlsStream> stream, size_t frame_bytes)
    : stream_(std::move(stream)), frame_(frame_bytes) {}

Result<std::span<const std::byte>> FrameLink::read() {
  while (here_ < frame_.size()) {
    const TlsStep step = stream_->read_some(std::span(frame_).subspan(here_));
    if (would_block(step)) return std::span<const std::byte>();
    if (step.state != State::kDone) return ended(step);
    here_ += step.bytes;
  }
  here_ = 0;
  return std::span<const std::byte>(frame_);
}

Result<void> FrameLink::write(std::span<const std::byte> frame) {
  if (unsent_.size() + frame.size() > kMaxUnsentBytes) {
    return Error{ErrorClass::kResource, "node '" + peer() + "' reads nothing of what it is told"};
  }
  unsent_.insert(unsent_.end(), frame.begin(), frame.end());
  return flush();
}

Result<void> FrameLink::flush() {
  std::array<std::byte, 1024> some;
  while (!unsent_.empty()) {
    const auto size = static_cast<ptrdiff_t>(std::min(some.size(), unsent_.size()));
    std::copy_n(unsent_.begin(), size, some.begin());
    const TlsStep step = stream_->write_some(std::span(some).first(static_cast<size_t>(size)));
    if (would_block(step)) return {};
    if (step.state != State::kDone) return ended(step);
    unsent_.erase(unsent_.begin(), unsent_.begin() + static_cast<ptrdiff_t>(step.bytes));
  }
  return {};
}

short FrameLink::events() const {
  return static_cast<short>(unsent_.empty() ? POLLIN : POLLIN | POLLOUT);
}

}  // namespace tracewise
