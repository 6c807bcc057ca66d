#include "transport/door_book.hpp"

#include <algorithm>
#include <utility>

namespace tracewise {

DoorBook::DoorBook(const WeightsReady& wanted) {
  const auto add = [this](const WeightsPlace& place) {
    if (place.port != 0) doors_.push_back({&place, 0, std::nullopt, std::nullopt});
  };
  add(wanted.place);
  for (const WeightsPlace& other : wanted.others) add(other);
  TW_CHECK(!doors_.empty(), "what is fetched over connections is served at a door");
}

size_t DoorBook::usable(size_t door) const {
  for (size_t i = 0; i < doors_.size(); ++i) {
    const size_t at = (door + i) % doors_.size();
    if (!doors_[at].given_up) return at;
  }
  return door % doors_.size();
}

bool DoorBook::give_up(size_t door, Error why) {
  if (!doors_[door].given_up) doors_[door].given_up = std::move(why);
  return std::ranges::any_of(doors_, [](const Door& d) { return !d.given_up; });
}

void DoorBook::leave_slow(size_t door, Error why) {
  if (is_good(door)) doors_[door].slow = std::move(why);
}

std::vector<WeightsShare> DoorBook::shares() const {
  std::vector<WeightsShare> shares;
  for (const Door& door : doors_) {
    if (door.bytes > 0) shares.push_back({door.place->node, door.bytes});
  }
  return shares;
}

std::vector<Error> DoorBook::complaints() const {
  std::vector<Error> complaints;
  for (const Door& door : doors_) {
    if (door.given_up || door.slow)
      complaints.push_back(door.given_up ? *door.given_up : *door.slow);
  }
  return complaints;
}

const Error& DoorBook::first_failure() const {
  const auto failed = std::ranges::find_if(doors_, [](const Door& d) { return !!d.given_up; });
  TW_CHECK(failed != doors_.end(), "a door was given up");
  return *failed->given_up;
}

}  // namespace tracewise
