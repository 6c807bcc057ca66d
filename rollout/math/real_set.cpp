#include "rollout/math/real_set.hpp"

#include <algorithm>
#include <utility>

namespace tracewise::math {
namespace {

Scalar infinite(int sign) {
  Scalar out;
  out.infinity = sign;
  return out;
}

// -1, 0 or 1 as a is below, at or above b. Both are real or infinite.
int order(const Scalar& a, const Scalar& b) {
  if (a.infinity != 0 || b.infinity != 0) {
    return a.infinity == b.infinity ? 0 : a.infinity < b.infinity ? -1 : 1;
  }
  if (same(a, b)) return 0;
  return *real_of(a) < *real_of(b) ? -1 : 1;
}

// By value alone: "the same" within a rounding is no order to sort by.
bool below(const Scalar& a, const Scalar& b) {
  if (a.infinity != 0 || b.infinity != 0) return a.infinity < b.infinity;
  return *real_of(a) < *real_of(b);
}

bool is_end(const Scalar& s) { return s.infinity != 0 || real_of(s); }

}  // namespace

RealSet all_reals() { return {{infinite(-1), infinite(1), false, false}}; }

std::optional<RealSet> interval(Piece piece) {
  if (!is_end(piece.low) || !is_end(piece.high)) return std::nullopt;
  if (piece.low.infinity != 0) piece.low_closed = false;
  if (piece.high.infinity != 0) piece.high_closed = false;
  const int ends = order(piece.low, piece.high);
  if (ends > 0 || (ends == 0 && !(piece.low_closed && piece.high_closed))) return RealSet{};
  return RealSet{std::move(piece)};
}

RealSet united(RealSet a, const RealSet& b) {
  a.insert(a.end(), b.begin(), b.end());
  std::ranges::sort(a, [](const Piece& x, const Piece& y) {
    if (below(x.low, y.low) || below(y.low, x.low)) return below(x.low, y.low);
    return x.low_closed && !y.low_closed;
  });
  RealSet out;
  for (Piece& piece : a) {
    const int gap = out.empty() ? 1 : order(piece.low, out.back().high);
    const bool touches = gap < 0 || (gap == 0 && (piece.low_closed || out.back().high_closed));
    if (!touches) {
      out.push_back(std::move(piece));
      continue;
    }
    const int highs = order(piece.high, out.back().high);
    if (highs > 0) {
      out.back().high = piece.high;
      out.back().high_closed = piece.high_closed;
    } else if (highs == 0) {
      out.back().high_closed |= piece.high_closed;
    }
  }
  return out;
}

RealSet complement(const RealSet& a) {
  RealSet out;
  Scalar low = infinite(-1);
  bool closed = false;
  for (const Piece& piece : a) {
    const bool starts_below = order(low, piece.low) < 0;
    const bool point = order(low, piece.low) == 0 && closed && !piece.low_closed;
    if (starts_below || point) out.push_back({low, piece.low, closed, !piece.low_closed});
    low = piece.high;
    closed = !piece.high_closed;
  }
  if (low.infinity <= 0) out.push_back({low, infinite(1), closed, false});
  // An end at infinity is open.
  for (Piece& piece : out) {
    piece.low_closed &= piece.low.infinity == 0;
    piece.high_closed &= piece.high.infinity == 0;
  }
  return out;
}

RealSet intersection(const RealSet& a, const RealSet& b) {
  return complement(united(complement(a), complement(b)));
}

bool same(const RealSet& a, const RealSet& b) {
  return std::ranges::equal(a, b, [](const Piece& x, const Piece& y) {
    return x.low_closed == y.low_closed && x.high_closed == y.high_closed && same(x.low, y.low) &&
           same(x.high, y.high);
  });
}

}  // namespace tracewise::math
