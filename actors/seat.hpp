// The replaceable roles of a run: whoever holds one may be lost, and another takes over its work
// under a number that nobody had before.
#pragma once

#include <compare>
#include <cstdint>
#include <string>

namespace tracewise {

enum class Role : uint8_t { kGenerator, kTracer, kBuilder };

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
  }
  return "";
}

inline std::string name_of(const Seat& seat) {
  return std::string(name_of(seat.role)) + " " + std::to_string(seat.number);
}

}  // namespace tracewise
