// A small seeded stream of random numbers: the same on every platform and library, which std's
// distributions are not. For shuffles, initial weights and made-up data; sampled tokens have
// rollout/random.hpp.
#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>
#include <utility>
#include <vector>

namespace tracewise {

// SplitMix64 (Steele, Lea, Flood 2014).
class SplitMix {
 public:
  explicit SplitMix(uint64_t seed) : state_(seed) {}
  // A stream of its own for each (seed, stream).
  SplitMix(uint64_t seed, uint64_t stream) : state_(seed) { state_ = next() ^ stream; }

  uint64_t next() {
    uint64_t z = (state_ += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }
  // In [0, n), n >= 1; the modulo's bias is below n / 2^64.
  uint64_t below(uint64_t n) { return next() % n; }
  // In [0, 1), 53 bits.
  double uniform() { return static_cast<double>(next() >> 11) * 0x1p-53; }
  // Standard normal (Box and Muller 1958), one of the pair.
  double normal() {
    const double radius = std::sqrt(-2 * std::log(1 - uniform()));
    return radius * std::cos(2 * std::numbers::pi * uniform());
  }
  // Fisher and Yates.
  template <class T>
  void shuffle(std::vector<T>& items) {
    for (size_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[below(i)]);
  }

 private:
  uint64_t state_;
};

}  // namespace tracewise
