#include "actors/dispatcher.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

namespace tracewise {

namespace {

std::vector<Seat> seats_of(const Dispatcher::InFlight& flight) {
  std::vector<Seat> seats = {{Role::kGenerator, flight.route.generator},
                             {Role::kTracer, flight.route.tracer}};
  if (flight.purpose == Purpose::kTrain) seats.push_back({Role::kBuilder, flight.route.builder});
  return seats;
}

bool goes_through(const Dispatcher::InFlight& flight, const Seat& seat) {
  const std::vector<Seat> seats = seats_of(flight);
  return std::find(seats.begin(), seats.end(), seat) != seats.end();
}

uint32_t pick(const std::set<uint32_t>& seats, uint64_t group) {
  return *std::next(seats.begin(), static_cast<int64_t>(group % seats.size()));
}

}  // namespace

void Dispatcher::join(const Seat& seat, uint32_t window) {
  finished_.try_emplace(seat, 0);
  if (draining_.count(seat) > 0) return;
  if (seat.role == Role::kGenerator) lanes_.try_emplace(seat.number, Lane{window, 0});
  if (seat.role == Role::kTracer) tracers_.insert(seat.number);
  if (seat.role == Role::kBuilder) builders_.insert(seat.number);
}

void Dispatcher::withdraw(const Seat& seat) {
  if (seat.role == Role::kGenerator) lanes_.erase(seat.number);
  if (seat.role == Role::kTracer) tracers_.erase(seat.number);
  if (seat.role == Role::kBuilder) builders_.erase(seat.number);
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
    for (const Seat& seat : seats_of(flight)) ++in_flight[seat];
  }
  std::vector<SeatWork> all;
  for (const auto& [seat, finished] : finished_) all.push_back({seat, in_flight[seat], finished});
  return all;
}

void Dispatcher::grant(uint32_t generator, uint32_t samples) {
  const auto lane = lanes_.find(generator);
  if (lane == lanes_.end()) return;
  lane->second.credit += samples;
  lane->second.owed = std::max<int64_t>(0, lane->second.owed - samples);
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

Dispatcher::Lane* Dispatcher::best_lane(uint32_t samples, uint32_t* generator) {
  Lane* best = nullptr;
  for (auto& [id, lane] : lanes_) {
    if (lane.credit < samples && lane.owed > 0) continue;
    if (best != nullptr && lane.credit <= best->credit) continue;
    best = &lane;
    *generator = id;
  }
  return best;
}

std::vector<GroupTask> Dispatcher::dispatch(TimePoint now, TimePoint deadline) {
  std::vector<GroupTask> sent;
  if (tracers_.empty() || builders_.empty()) return sent;
  while (!queue_.empty()) {
    uint32_t generator = 0;
    Lane* lane = best_lane(queue_.front().samples, &generator);
    if (lane == nullptr) break;
    GroupTask task = std::move(queue_.front());
    queue_.pop_front();
    lane->credit -= task.samples;
    lane->owed += task.samples;
    const uint64_t group = task.key.group;
    task.route = {generator, pick(tracers_, group), pick(builders_, group)};
    in_flight_[group] = {task.key, task.purpose, task.route, now, deadline};
    sent.push_back(std::move(task));
  }
  return sent;
}

bool Dispatcher::finish(GroupKey key) {
  const auto it = in_flight_.find(key.group);
  if (it == in_flight_.end() || it->second.key != key) return false;
  for (const Seat& seat : seats_of(it->second)) {
    if (const auto found = finished_.find(seat); found != finished_.end()) ++found->second;
  }
  in_flight_.erase(it);
  return true;
}

void Dispatcher::drop(uint64_t group) {
  in_flight_.erase(group);
  std::erase_if(queue_, [group](const GroupTask& task) { return task.key.group == group; });
}

std::optional<Dispatcher::InFlight> Dispatcher::overdue(TimePoint now) const {
  const auto earliest = std::min_element(
      in_flight_.begin(), in_flight_.end(),
      [](const auto& a, const auto& b) { return a.second.deadline < b.second.deadline; });
  if (earliest == in_flight_.end() || earliest->second.deadline > now) return std::nullopt;
  return earliest->second;
}

}  // namespace tracewise
