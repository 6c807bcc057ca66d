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

  // Another has nothing left to do and waits for this one's chunks: it is left for the next one,
  // and asked again only when that fails. A door is left so once.
  void leave_slow(size_t door, Error why);
  // Neither given up nor left.
  bool is_good(size_t door) const { return !doors_[door].given_up && !doors_[door].slow; }

  void gave(size_t door, uint64_t bytes) { doors_[door].bytes += bytes; }

  // Of the doors that gave something, in the order of their places.
  std::vector<WeightsShare> shares() const;
  // Why doors were given up, or left, in the same order.
  std::vector<Error> complaints() const;
  // Why the first of those that were given up was; there is one.
  const Error& first_failure() const;

 private:
  struct Door {
    const WeightsPlace* place;  // of the fetch's WeightsReady
    uint64_t bytes = 0;
    std::optional<Error> given_up;
    std::optional<Error> slow;
  };
  std::vector<Door> doors_;
};

}  // namespace tracewise
