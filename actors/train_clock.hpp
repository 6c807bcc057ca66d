// The stopwatch of `budget_seconds`: it runs while there is sampling, probing and updating to do
// and stands still during evaluations and checkpoints. Time is an argument; not thread-safe.
#pragma once

#include <chrono>

namespace tracewise {

class TrainClock {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  // `seconds` were used up by the run before it was resumed.
  explicit TrainClock(double seconds = 0) : seconds_(seconds) {}

  void start(TimePoint now) {
    if (running_) return;
    running_ = true;
    since_ = now;
  }

  void pause(TimePoint now) {
    seconds_ = seconds(now);
    running_ = false;
  }

  bool running() const { return running_; }

  double seconds(TimePoint now) const {
    if (!running_ || now < since_) return seconds_;
    return seconds_ + std::chrono::duration<double>(now - since_).count();
  }

 private:
  double seconds_;
  bool running_ = false;
  TimePoint since_{};
};

}  // namespace tracewise
