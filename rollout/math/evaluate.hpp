// Three ways to what an expression is worth. Each gives up (nullopt) rather than work long: numbers
// of more than kMaxBits, powers beyond what fits, functions where they are not defined.
#pragma once

#include <array>
#include <boost/multiprecision/cpp_complex.hpp>
#include <cstdint>
#include <optional>

#include "rollout/math/node.hpp"

namespace tracewise::math {

using Complex = boost::multiprecision::cpp_complex_50;

inline constexpr unsigned kMaxBits = 4096;

// The rational number that it is, by rational arithmetic alone.
std::optional<Rational> exact_value(const Node& node);

// Its value in the field of 2^61 - 1 elements, at kFieldPoints random choices of its variables, pi
// and e among them. Two expressions of + - * / and whole powers are equal if and only if these are,
// but for a chance of their degree in 2^61.
inline constexpr size_t kFieldPoints = 3;
using FieldValue = std::array<uint64_t, kFieldPoints>;
std::optional<FieldValue> field_value(const Node& node);

// Its value to about 50 digits where its variables have the `point`-th of fixed real values.
inline constexpr size_t kNumericPoints = 4;
std::optional<Complex> numeric_value(const Node& node, size_t point);

// The whole number that a node is, if it is one of at most `limit`, either sign.
std::optional<int64_t> whole_value(const Node& node, int64_t limit);

// binom(n, k) and n! for 0 <= n <= 1000.
std::optional<Integer> binomial(int64_t n, int64_t k);
std::optional<Integer> factorial(int64_t n);

}  // namespace tracewise::math
