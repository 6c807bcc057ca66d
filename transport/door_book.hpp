// Which of several doors a fetch may still ask, and what each has given.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "messages/records.hpp"
#include "messages/result.hpp"

namespace tracewise {

// Not thread-safe.
class DoorBook {
 public:
  // Of the places of `wanted` that serve connections, at least one.
  explicit DoorBook(const WeightsReady& wanted);

  size_t size() const { return doors_.size(); }
  const WeightsPlace& place(size_t door) const { return *doors_[door].place; }

  // The first door from `door` on, in a ring, that was not given up; `door` itself if all were.
  size_t usable(size_t door) const;
  // The one to go to when `door` failed: the next usable one, or the same if there is no other.
  size_t next(size_t door) const { return usable(door + 1); }

  // It is of no use to this fetch. False: nor is any other.
  bool give_up(size_t door, Error why);
  size_t left() const;  // that were not given up

  void gave(size_t door, uint64_t bytes) { doors_[door].bytes += bytes; }

  // Of the doors that gave something, in the order of their places.
  std::vector<WeightsShare> shares() const;
  // Why doors were given up, in the same order.
  std::vector<Error> failures() const;

 private:
  struct Door {
    const WeightsPlace* place;  // of the fetch's WeightsReady
    uint64_t bytes = 0;
    std::optional<Error> given_up;
  };
  std::vector<Door> doors_;
};

}  // namespace tracewise
