// Measures what new weights cost those who decode. Time is an argument.
#pragma once

#include <optional>

#include "rollout/engine.hpp"

namespace tracewise {

// Not thread-safe; owned by an engine.
class SwapClock {
 public:
  using TimePoint = Clock::time_point;

  // New weights are here; the swap may come later.
  void arrived(TimePoint now);

  // They are in use from here on. `interrupts`: rollouts are under way that wait meanwhile.
  void swapped(TimePoint now, bool interrupts);

  // A step took from `begin` to `end`. `resumes`: those that were interrupted go on in it. `more`:
  // there is work left for another.
  void stepped(TimePoint begin, TimePoint end, bool resumes, bool more);

  // There is no work any more, without a step that did the last of it.
  void rested() { worked_until_.reset(); }

  // swaps and what belongs to the last of them.
  void fill(EngineStats& stats) const;

 private:
  void count(double pause_seconds);

  std::optional<TimePoint> arrived_at_;
  std::optional<TimePoint> worked_until_;  // end of the last step, if it left work
  std::optional<TimePoint> paused_at_;     // a swap's pause has begun and not ended
  double wait_ = 0;                        // of that swap
  double longest_ = 0;                     // step since the last swap
  double longest_before_ = 0;              // between it and the one before
  EngineStats counted_;
};

}  // namespace tracewise
