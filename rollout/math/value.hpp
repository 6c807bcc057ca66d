// What a parsed answer is: a number or expression, words, a set, an interval, a matrix, a relation.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "messages/result.hpp"
#include "rollout/math/real_set.hpp"
#include "rollout/math/scalar.hpp"

namespace tracewise::math {

enum class ValueKind : uint8_t {
  kScalar,    // scalar
  kWords,     // name: lower-case letters; scalar: the same as a product, if it is written so
  kTuple,     // items between name[0] and name[1]; of two it may be an interval
  kSet,       // items in any order; name "{}" with braces, empty for a list
  kReals,     // reals
  kRelation,  // scalar `name` 0, name one of = < l (<=) n (!=); items[0]: of = the right side
  kMatrix,    // items row by row; name: the number of rows
};

struct Value {
  ValueKind kind = ValueKind::kScalar;
  std::string name;
  std::optional<Scalar> scalar;
  std::vector<Value> items;
  RealSet reals;
  // "x" of x = 5 and of x > 5; empty: the value was given alone.
  std::string variable;
  std::optional<Scalar> equation;  // of x = 5: x - 5, which is 0
};

// kBadInput for what has no meaning here, a tuple times a number, say.
Result<Value> value_of(const Node& node);

// The real numbers that an interval, a finite set of numbers or kReals are.
std::optional<RealSet> reals_of(const Value& value);

}  // namespace tracewise::math
