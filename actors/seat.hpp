// The roles that nodes offer: whoever holds one may be lost. Another takes over its work under a
// number that nobody had before; but the learner's ranks stand and fall together.
#pragma once

#include <compare>
#include <cstdint>
#include <string>

namespace tracewise {

enum class Role : uint8_t { kGenerator, kTracer, kBuilder, kRank };

struct Seat {
  Role role = Role::kGenerator;
  uint32_t number = 0;  // counts up within its role over a run's process; never given twice
  auto operator<=>(const Seat&) const = default;
};

constexpr const char* name_of(Role role) {
  switch (role) {
    case Role::kGenerator:
      return "generator";
    case Role::kTracer:
      return "tracer";
    case Role::kBuilder:
      return "builder";
    case Role::kRank:
      return "learner rank";
  }
  return "";
}

inline std::string name_of(const Seat& seat) {
  return std::string(name_of(seat.role)) + " " + std::to_string(seat.number);
}

}  // namespace tracewise
