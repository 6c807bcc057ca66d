#include "rollout/swap_clock.hpp"

#include <algorithm>
#include <utility>

namespace tracewise {
namespace {

double seconds(Clock::duration time) { return std::chrono::duration<double>(time).count(); }

}  // namespace

void SwapClock::arrived(TimePoint now) {
  if (!arrived_at_) arrived_at_ = now;  // newer weights wait since the older ones came
}

void SwapClock::swapped(TimePoint now, bool interrupts) {
  if (paused_at_) count(seconds(now - *paused_at_));  // once more, before anybody went on
  wait_ = arrived_at_ ? seconds(now - *arrived_at_) : 0;
  arrived_at_.reset();
  longest_before_ = std::exchange(longest_, 0);
  paused_at_ = interrupts ? worked_until_ : std::nullopt;
  if (!paused_at_) count(0);
}

void SwapClock::stepped(TimePoint begin, TimePoint end, bool resumes, bool more) {
  if (paused_at_ && resumes) count(seconds(begin - *paused_at_));
  longest_ = std::max(longest_, seconds(end - begin));
  worked_until_ = more ? std::optional(end) : std::nullopt;
}

void SwapClock::count(double pause_seconds) {
  paused_at_.reset();
  ++counted_.swaps;
  counted_.swap_wait_seconds = wait_;
  counted_.swap_pause_seconds = pause_seconds;
  counted_.longest_step_seconds = longest_before_;
}

void SwapClock::fill(EngineStats& stats) const {
  stats.swaps = counted_.swaps;
  stats.swap_wait_seconds = counted_.swap_wait_seconds;
  stats.swap_pause_seconds = counted_.swap_pause_seconds;
  stats.longest_step_seconds = counted_.longest_step_seconds;
}

}  // namespace tracewise
