// Which group goes where: to the generator with the most credit left, and to a tracer and a builder
// that are its own until it comes to its end. Credit is explicit, in samples: a generator starts
// with its window and grants what it has handed on; a group waits here while nobody has enough.
#pragma once

#include <chrono>
#include <cstdint>
#include <list>
#include <map>
#include <optional>
#include <set>
#include <unordered_map>
#include <utility>
#include <vector>

#include "actors/control.hpp"
#include "actors/seat.hpp"
#include "messages/records.hpp"

namespace tracewise {

// Not thread-safe; owned by the coordinator. Time is an argument.
class Dispatcher {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  struct InFlight {
    GroupKey key;
    Purpose purpose = Purpose::kTrain;
    Route route;
    TimePoint since;
    TimePoint deadline;
    bool handed_on = false;  // all its rollouts have left the generator
  };

  // A seat is there. `window` is a generator's first credit in samples; others have none.
  void join(const Seat& seat, uint32_t window);

  // Gives `seat` nothing new; what is in flight through it goes on. One that is not there yet,
  // whose join() is still on its way, will get nothing either.
  void drain(const Seat& seat);
  // Draining seats through which nothing is in flight (any more). Each is given once.
  std::vector<Seat> take_drained();

  // Of all seats that are there, and of draining ones.
  std::vector<SeatWork> work() const;

  // `samples` more may be sent to `generator`. One that has left is ignored: its last grants may
  // still have been on their way.
  void grant(uint32_t generator, uint32_t samples);

  // A seat is gone. Returns what was in flight through it, ascending by group.
  std::vector<InFlight> leave(const Seat& seat);

  void push(GroupTask task) { enqueue(queue_.end(), std::move(task)); }
  // Ahead of all others: a group issued again is the one that the others wait for.
  void push_front(GroupTask task) { enqueue(queue_.begin(), std::move(task)); }

  // What can be sent now, with its route; each is in flight until finish(), at the latest until
  // `deadline`. A group larger than any window is sent to a generator that owes nothing.
  std::vector<GroupTask> dispatch(TimePoint now, TimePoint deadline);

  // All rollouts of the attempt have left its generator: its tracer or builder has them.
  void hand_on(GroupKey key);

  // The group came to its end. False if this attempt was not in flight.
  bool finish(GroupKey key);
  // Forgets a group whatever its attempt, queued or in flight. A group is queued once at a time.
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
  using Lanes = std::map<uint32_t, Lane>;  // by generator
  using Queue = std::list<GroupTask>;

  Lanes::iterator best_lane(uint32_t samples);
  // Changes a lane by f(lane), and its places in the two orders below.
  template <class F>
  void change(Lanes::iterator lane, F f);
  void list(const Lanes::value_type& lane);
  void unlist(const Lanes::value_type& lane);
  void enqueue(Queue::iterator before, GroupTask task);
  void withdraw(const Seat& seat);

  // Who may be given work.
  Lanes lanes_;
  // Credit and generator of all lanes, and of those that owe nothing; the most credit first, then
  // the lowest generator.
  struct ByCredit {
    bool operator()(const std::pair<int64_t, uint32_t>& a,
                    const std::pair<int64_t, uint32_t>& b) const {
      return a.first != b.first ? a.first > b.first : a.second < b.second;
    }
  };
  std::set<std::pair<int64_t, uint32_t>, ByCredit> by_credit_, owing_nothing_;
  std::vector<uint32_t> tracers_, builders_;  // ascending
  std::set<Seat> draining_;
  std::set<Seat> undrained_;           // of those, the ones that take_drained() has not given
  std::map<Seat, uint64_t> finished_;  // groups, of all seats that are there
  Queue queue_;
  std::unordered_map<uint64_t, Queue::iterator> queued_;  // by group
  std::map<uint64_t, InFlight> in_flight_;
};

}  // namespace tracewise
