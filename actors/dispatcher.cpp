#include "actors/dispatcher.hpp"

#include <algorithm>
#include <string>
#include <utility>

#include "messages/check.hpp"

namespace tracewise {

namespace {

template <class F>
void for_seats(const Dispatcher::InFlight& flight, F f) {
  f(Seat{Role::kGenerator, flight.route.generator});
  f(Seat{Role::kTracer, flight.route.tracer});
  if (flight.purpose == Purpose::kTrain) f(Seat{Role::kBuilder, flight.route.builder});
}

bool goes_through(const Dispatcher::InFlight& flight, const Seat& seat) {
  bool found = false;
  for_seats(flight, [&](const Seat& own) { found = found || own == seat; });
  return found;
}

uint32_t pick(const std::vector<uint32_t>& seats, uint64_t group) {
  return seats[group % seats.size()];
}

void insert(std::vector<uint32_t>& ascending, uint32_t number) {
  const auto at = std::lower_bound(ascending.begin(), ascending.end(), number);
  if (at == ascending.end() || *at != number) ascending.insert(at, number);
}

}  // namespace

void Dispatcher::join(const Seat& seat, uint32_t window) {
  finished_.try_emplace(seat, 0);
  if (draining_.count(seat) > 0) return;
  if (seat.role == Role::kGenerator) {
    const auto [lane, is_new] = lanes_.try_emplace(seat.number, Lane{window, 0});
    if (is_new) list(*lane);
  }
  if (seat.role == Role::kTracer) insert(tracers_, seat.number);
  if (seat.role == Role::kBuilder) insert(builders_, seat.number);
}

void Dispatcher::withdraw(const Seat& seat) {
  if (seat.role == Role::kTracer) std::erase(tracers_, seat.number);
  if (seat.role == Role::kBuilder) std::erase(builders_, seat.number);
  const auto lane = lanes_.find(seat.number);
  if (seat.role != Role::kGenerator || lane == lanes_.end()) return;
  unlist(*lane);
  lanes_.erase(lane);
}

void Dispatcher::list(const Lanes::value_type& lane) {
  const auto& [generator, state] = lane;
  by_credit_.emplace(state.credit, generator);
  if (state.owed == 0) owing_nothing_.emplace(state.credit, generator);
}

void Dispatcher::unlist(const Lanes::value_type& lane) {
  const auto& [generator, state] = lane;
  by_credit_.erase({state.credit, generator});
  owing_nothing_.erase({state.credit, generator});
}

template <class F>
void Dispatcher::change(Lanes::iterator lane, F f) {
  unlist(*lane);
  f(lane->second);
  list(*lane);
}

void Dispatcher::enqueue(Queue::iterator before, GroupTask task) {
  const uint64_t group = task.key.group;
  const bool is_new = queued_.emplace(group, queue_.insert(before, std::move(task))).second;
  TW_CHECK(is_new, "group " + std::to_string(group) + " is queued already");
}

void Dispatcher::drain(const Seat& seat) {
  withdraw(seat);
  if (draining_.insert(seat).second) undrained_.insert(seat);
}

std::vector<Seat> Dispatcher::take_drained() {
  std::vector<Seat> drained;
  for (const Seat& seat : undrained_) {
    const bool busy = std::any_of(in_flight_.begin(), in_flight_.end(), [&](const auto& entry) {
      return goes_through(entry.second, seat);
    });
    if (!busy) drained.push_back(seat);
  }
  for (const Seat& seat : drained) undrained_.erase(seat);
  return drained;
}

std::vector<SeatWork> Dispatcher::work() const {
  std::map<Seat, uint64_t> in_flight;
  for (const auto& [group, flight] : in_flight_) {
    for_seats(flight, [&](const Seat& seat) { ++in_flight[seat]; });
  }
  std::vector<SeatWork> all;
  for (const auto& [seat, finished] : finished_) all.push_back({seat, in_flight[seat], finished});
  return all;
}

void Dispatcher::grant(uint32_t generator, uint32_t samples) {
  const auto lane = lanes_.find(generator);
  if (lane == lanes_.end()) return;
  change(lane, [samples](Lane& l) {
    l.credit += samples;
    l.owed = std::max<int64_t>(0, l.owed - samples);
  });
}

std::vector<Dispatcher::InFlight> Dispatcher::leave(const Seat& seat) {
  withdraw(seat);
  draining_.erase(seat);
  undrained_.erase(seat);
  finished_.erase(seat);
  std::vector<InFlight> lost;
  for (auto it = in_flight_.begin(); it != in_flight_.end();) {
    if (goes_through(it->second, seat)) {
      lost.push_back(it->second);
      it = in_flight_.erase(it);
    } else {
      ++it;
    }
  }
  return lost;
}

// The lane with the most credit, if that is enough; else the one with the most of those that owe
// nothing, whose window is smaller than the group.
Dispatcher::Lanes::iterator Dispatcher::best_lane(uint32_t samples) {
  if (!by_credit_.empty() && by_credit_.begin()->first >= int64_t{samples})
    return lanes_.find(by_credit_.begin()->second);
  if (!owing_nothing_.empty()) return lanes_.find(owing_nothing_.begin()->second);
  return lanes_.end();
}

std::vector<GroupTask> Dispatcher::dispatch(TimePoint now, TimePoint deadline) {
  std::vector<GroupTask> sent;
  if (tracers_.empty() || builders_.empty()) return sent;
  while (!queue_.empty()) {
    const auto lane = best_lane(queue_.front().samples);
    if (lane == lanes_.end()) break;
    GroupTask task = std::move(queue_.front());
    queue_.pop_front();
    const uint64_t group = task.key.group;
    queued_.erase(group);
    change(lane, [&](Lane& l) {
      l.credit -= task.samples;
      l.owed += task.samples;
    });
    task.route = {lane->first, pick(tracers_, group), pick(builders_, group)};
    in_flight_[group] = {task.key, task.purpose, task.route, now, deadline};
    sent.push_back(std::move(task));
  }
  return sent;
}

void Dispatcher::hand_on(GroupKey key) {
  const auto it = in_flight_.find(key.group);
  if (it != in_flight_.end() && it->second.key == key) it->second.handed_on = true;
}

bool Dispatcher::finish(GroupKey key) {
  const auto it = in_flight_.find(key.group);
  if (it == in_flight_.end() || it->second.key != key) return false;
  for_seats(it->second, [this](const Seat& seat) {
    if (const auto found = finished_.find(seat); found != finished_.end()) ++found->second;
  });
  in_flight_.erase(it);
  return true;
}

void Dispatcher::drop(uint64_t group) {
  in_flight_.erase(group);
  const auto found = queued_.find(group);
  if (found == queued_.end()) return;
  queue_.erase(found->second);
  queued_.erase(found);
}

std::optional<Dispatcher::InFlight> Dispatcher::overdue(TimePoint now) const {
  const auto earliest = std::min_element(
      in_flight_.begin(), in_flight_.end(),
      [](const auto& a, const auto& b) { return a.second.deadline < b.second.deadline; });
  if (earliest == in_flight_.end() || earliest->second.deadline > now) return std::nullopt;
  return earliest->second;
}

}  // namespace tracewise
