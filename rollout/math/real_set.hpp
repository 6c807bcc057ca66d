// Sets of real numbers made of intervals and points.
#pragma once

#include <optional>
#include <vector>

#include "rollout/math/scalar.hpp"

namespace tracewise::math {

// A point has low = high, both closed. Infinite ends are open.
struct Piece {
  Scalar low;
  Scalar high;
  bool low_closed = false;
  bool high_closed = false;
};

// Disjoint pieces in ascending order that don't touch; none: the empty set.
using RealSet = std::vector<Piece>;

RealSet all_reals();

// nullopt if an end is no real number. An interval whose ends are in the wrong order is empty.
std::optional<RealSet> interval(Piece piece);

RealSet united(RealSet a, const RealSet& b);
RealSet complement(const RealSet& a);
RealSet intersection(const RealSet& a, const RealSet& b);

bool same(const RealSet& a, const RealSet& b);

}  // namespace tracewise::math
