// Finds what stalls a run: waits whose deadline has passed, and actors that wait for each other.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "actors/control.hpp"

namespace tracewise {

// Not thread-safe; no clock of its own.
class Watchdog {
 public:
  // Whoever keeps a deadline wakes up a moment after it.
  static constexpr double kGraceSeconds = 0.25;
  // Messages on their way close a cycle for a moment.
  static constexpr double kCycleSeconds = 3;

  // What began or ended since the last look, in words: "overdue: coordinator (head) waits for ...",
  // "no longer overdue: ...". `nodes`: as the actors are now (ControlRequest::Kind::kActors); of a
  // node that is not heard what was said of it stands.
  [[nodiscard]] std::vector<std::string> look(const std::vector<NodeStatus>& nodes);

 private:
  struct Stall {
    std::string name;             // "coordinator (head) waits for learner: a step"
    std::set<std::string> nodes;  // that it is on
    bool operator==(const Stall&) const = default;
  };
  std::map<std::string, Stall> told_;  // by what tells it from others
};

}  // namespace tracewise
