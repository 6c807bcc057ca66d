#include "actors/dispatcher.hpp"

#include <algorithm>
#include <utility>

namespace tracewise {

void Dispatcher::grant(uint32_t generator, uint32_t samples) {
  Lane& lane = lanes_[generator];
  lane.credit += samples;
  lane.owed = std::max<int64_t>(0, lane.owed - samples);
}

std::vector<Dispatcher::InFlight> Dispatcher::leave(uint32_t generator) {
  lanes_.erase(generator);
  std::vector<InFlight> lost;
  for (auto it = in_flight_.begin(); it != in_flight_.end();) {
    if (it->second.generator == generator) {
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

std::vector<Dispatcher::Assignment> Dispatcher::dispatch(TimePoint now, TimePoint deadline) {
  std::vector<Assignment> assignments;
  while (!queue_.empty()) {
    uint32_t generator = 0;
    Lane* lane = best_lane(queue_.front().samples, &generator);
    if (lane == nullptr) break;
    GroupTask task = std::move(queue_.front());
    queue_.pop_front();
    lane->credit -= task.samples;
    lane->owed += task.samples;
    in_flight_[task.key.group] = {task.key, task.purpose, generator, now, deadline};
    assignments.push_back({generator, std::move(task)});
  }
  return assignments;
}

bool Dispatcher::finish(GroupKey key) {
  const auto it = in_flight_.find(key.group);
  if (it == in_flight_.end() || it->second.key != key) return false;
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
