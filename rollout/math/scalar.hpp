// An expression reduced to what comparing it needs.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "rollout/math/evaluate.hpp"
#include "rollout/math/node.hpp"

namespace tracewise::math {

struct Scalar {
  int infinity = 0;               // +1 or -1; then nothing else counts
  std::optional<Rational> exact;  // where it is a rational number
  std::optional<FieldValue> field;
  std::vector<Complex> points;  // one, or kNumericPoints where it has variables; empty: unknown
  std::string form;             // equal for equal trees, whatever the order of sums and products
  std::string unit;             // of known_unit() or as it was written; empty: none
  bool decimal = false;         // has a number with a point: it may be rounded
  bool percent = false;         // its value is a hundredth of what is written
};

// nullopt for what is no number: sets, tuples, relations, ...
std::optional<Scalar> scalar_of(const Node& node);

// Whether they are the same number or expression, units aside. Where one is a decimal, a difference
// of 5e-7 and of 1e-5 of their size is a rounding. Where one is a percentage and the other is not,
// the percentage stands for its value or for the bare number: 50% equals 0.5 and 50.
bool same(const Scalar& a, const Scalar& b);

// Whether they have different units that are both known, or different bases.
bool units_differ(const Scalar& a, const Scalar& b);

// Whether a = c * b for one number c, and nothing is 0: the equations a = 0 and b = 0 say the same.
// c_sign: the sign of c, if it is asked for; then c must be real.
bool proportional(const Scalar& a, const Scalar& b, int* c_sign);

// Its value as a real number; nullopt if it has variables, is complex or unknown.
std::optional<Complex::value_type> real_of(const Scalar& scalar);

// The tree as text, equal for equal expressions that only differ in order.
std::string form_of(const Node& node);

}  // namespace tracewise::math
