// 16 floats as one value, in GCC's vector notation: one register with AVX-512, two with AVX2. In
// memory they may be bf16.
// Included by the kernel sources alone; everything has internal linkage, because the same text is
// compiled for several instruction sets.
#pragma once

#include <cstdint>

#include "model/kernels/kernels.hpp"

namespace {

using tracewise::kernels::bf16;

using v16 = float __attribute__((vector_size(64)));
using v16i = int32_t __attribute__((vector_size(64)));
using v16u = uint32_t __attribute__((vector_size(64)));
using v16h = uint16_t __attribute__((vector_size(32)));
using v16_unaligned = float __attribute__((vector_size(64), aligned(4), may_alias));
using v16u_unaligned = uint32_t __attribute__((vector_size(64), aligned(2), may_alias));
using v16h_unaligned = uint16_t __attribute__((vector_size(32), aligned(2), may_alias));

inline __attribute__((always_inline)) v16 load(const float* p) {
  return *reinterpret_cast<const v16_unaligned*>(p);
}
inline __attribute__((always_inline)) void store(float* p, v16 x) {
  *reinterpret_cast<v16_unaligned*>(p) = x;
}
inline __attribute__((always_inline)) v16 splat(float x) { return x - v16{}; }

// The vector of the same bits, as GCC casts vectors.
inline __attribute__((always_inline)) v16 as_floats(v16u bits) {
  return reinterpret_cast<v16>(bits);
}

inline __attribute__((always_inline)) v16 load(const bf16* p) {
  const v16h bits = *reinterpret_cast<const v16h_unaligned*>(p);
  return as_floats(__builtin_convertvector(bits, v16u) << 16);
}
// Rounds to nearest, ties to even; a NaN stays one.
inline __attribute__((always_inline)) v16h narrow(v16 x) {
  const v16u bits = reinterpret_cast<v16u>(x);
  const v16u rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  const v16u quiet = bits >> 16 | 0x40;
  return __builtin_convertvector(x == x ? rounded : quiet, v16h);
}
inline __attribute__((always_inline)) void store(bf16* p, v16 x) {
  *reinterpret_cast<v16h_unaligned*>(p) = narrow(x);
}

inline float to_float(float x) { return x; }
inline float to_float(bf16 x) {
  const uint32_t bits = static_cast<uint32_t>(x.bits) << 16;
  return __builtin_bit_cast(float, bits);
}
inline void assign(float& y, float x) { y = x; }
inline void assign(bf16& y, float x) { y.bits = narrow(splat(x))[0]; }

// Loads and stores of the first n < 16 lanes; the rest reads as 0.
template <class T>
inline v16 load_part(const T* p, int64_t n) {
  v16 x{};
  for (int64_t i = 0; i < n; ++i) x[i] = to_float(p[i]);
  return x;
}
template <class T>
inline void store_part(T* p, v16 x, int64_t n) {
  for (int64_t i = 0; i < n; ++i) assign(p[i], x[i]);
}

inline __attribute__((always_inline)) v16 max(v16 a, v16 b) { return a > b ? a : b; }
inline __attribute__((always_inline)) v16 min(v16 a, v16 b) { return a < b ? a : b; }
// Lane i of the result is lane i + n of x, for i + n < 16.
template <int n>
inline __attribute__((always_inline)) v16 lanes_down(v16 x) {
  return __builtin_shufflevector(x, x, n, n + 1, n + 2, n + 3, n + 4, n + 5, n + 6, n + 7, n + 8,
                                 n + 9, n + 10, n + 11, n + 12, n + 13, n + 14, n + 15);
}

// Sum and maximum of the lanes, pairwise: the same order on every instruction set.
inline __attribute__((always_inline)) float sum(v16 x) {
  x += lanes_down<8>(x);
  x += lanes_down<4>(x);
  x += lanes_down<2>(x);
  return (x + lanes_down<1>(x))[0];
}
inline __attribute__((always_inline)) float max_lane(v16 x) {
  x = max(x, lanes_down<8>(x));
  x = max(x, lanes_down<4>(x));
  x = max(x, lanes_down<2>(x));
  return max(x, lanes_down<1>(x))[0];
}

// x in the first n lanes, `fill` in the rest.
inline __attribute__((always_inline)) v16 keep_lanes(v16 x, int64_t n, float fill) {
  const v16i lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  return lane < static_cast<int32_t>(n) ? x : splat(fill);
}

// 0 in the first n lanes, x in the rest.
inline __attribute__((always_inline)) v16 drop_lanes(v16 x, int64_t n) {
  const v16i lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  return lane < static_cast<int32_t>(n) ? v16{} : x;
}

// e^x to 2 ulp on [-87, 88], clamped outside: 2^n * p(r), |r| <= ln2/2, p of degree 6. NaN stays
// NaN, so that a guard further on sees it.
inline __attribute__((always_inline)) v16 exp(v16 x) {
  x = min(splat(88.0f), max(splat(-87.0f), x));  // both give their second operand for NaN
  const v16 round = splat(12582912.0f);          // 1.5 * 2^23: adding it rounds to an integer
  const v16 n = (x * splat(1.44269504f) + round) - round;
  const v16 r = (x - n * splat(0.693359375f)) - n * splat(-2.12194440e-4f);
  v16 p = splat(1.0f / 720);
  p = p * r + splat(1.0f / 120);
  p = p * r + splat(1.0f / 24);
  p = p * r + splat(1.0f / 6);
  p = p * r + splat(0.5f);
  p = p * r + splat(1.0f);
  p = p * r + splat(1.0f);
  const v16i exponent = (__builtin_convertvector(n, v16i) + 127) << 23;
  return p * reinterpret_cast<v16>(exponent);  // the same bits, as GCC casts vectors
}

}  // namespace
