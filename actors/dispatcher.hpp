// Which generator gets which group: explicit credit in samples. A generator grants what it can
// hold; a group goes to the one with the most credit left, and waits here while nobody has enough.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <vector>

#include "messages/records.hpp"

namespace tracewise {

// Not thread-safe; owned by the coordinator. Time is an argument.
class Dispatcher {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  struct Assignment {
    uint32_t generator = 0;
    GroupTask task;
  };
  struct InFlight {
    GroupKey key;
    Purpose purpose = Purpose::kTrain;
    uint32_t generator = 0;
    TimePoint since;
    TimePoint deadline;
  };

  // `samples` more may be sent to `generator`, which joins with its first grant.
  void grant(uint32_t generator, uint32_t samples);

  // A generator is gone, with its credit. Returns what it had not finished, ascending by group.
  std::vector<InFlight> leave(uint32_t generator);

  void push(GroupTask task) { queue_.push_back(std::move(task)); }
  // Ahead of all others: a group issued again is the one that the others wait for.
  void push_front(GroupTask task) { queue_.push_front(std::move(task)); }

  // What can be sent now; each is in flight until finish(), at the latest until `deadline`. A group
  // larger than any window is sent to a generator that owes nothing.
  std::vector<Assignment> dispatch(TimePoint now, TimePoint deadline);

  // The group came to its end. False if this attempt was not in flight.
  bool finish(GroupKey key);
  // Forgets a group whatever its attempt, queued or in flight.
  void drop(uint64_t group);

  // The one with the earliest deadline, if that has passed.
  std::optional<InFlight> overdue(TimePoint now) const;

  const std::map<uint64_t, InFlight>& in_flight() const { return in_flight_; }  // by group
  bool idle() const { return in_flight_.empty() && queue_.empty(); }
  size_t queued() const { return queue_.size(); }

 private:
  struct Lane {
    int64_t credit = 0;  // samples; below 0 after a group larger than the window
    int64_t owed = 0;    // samples sent and not granted again
  };
  Lane* best_lane(uint32_t samples, uint32_t* generator);

  std::map<uint32_t, Lane> lanes_;
  std::deque<GroupTask> queue_;
  std::map<uint64_t, InFlight> in_flight_;
};

}  // namespace tracewise
