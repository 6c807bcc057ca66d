// The kernels' tables that this CPU runs, and numbers to try them with.
#pragma once

#include <cmath>
#include <random>
#include <vector>

#include "model/kernels/kernels.hpp"

namespace tracewise::testing {

inline std::vector<const kernels::Table*> tables() {
  std::vector<const kernels::Table*> all = {&kernels::generic_table()};
#if defined(__x86_64__)
  if (kernels::has_avx2()) all.push_back(&kernels::avx2_table());
  if (kernels::has_avx512()) all.push_back(&kernels::avx512_table());
  if (kernels::has_avx512_bf16()) all.push_back(&kernels::avx512_bf16_table());
  if (kernels::has_amx()) all.push_back(&kernels::amx_table());
#endif
  return all;
}

inline std::vector<float> random_floats(size_t n, uint32_t seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  std::vector<float> x(n);
  for (float& v : x) v = normal(generator);
  return x;
}

inline double largest_difference(const std::vector<float>& a, const std::vector<double>& b) {
  REQUIRE(a.size() == b.size());
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::abs(a[i] - b[i]));
  return largest;
}

}  // namespace tracewise::testing
