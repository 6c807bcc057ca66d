#include "rollout/math/scalar.hpp"

#include <algorithm>

#include "rollout/math/names.hpp"

namespace tracewise::math {
namespace {

using Float = Complex::value_type;

bool is_expression(const Node& node) {
  switch (node.kind) {
    case NodeKind::kTuple:
    case NodeKind::kSet:
    case NodeKind::kList:
    case NodeKind::kSetOp:
    case NodeKind::kRelation:
    case NodeKind::kMatrix:
    case NodeKind::kPlusMinus:
      return false;
    default:
      return std::ranges::all_of(node.args, is_expression);
  }
}

bool has_variables(const Node& node) {
  if (node.kind == NodeKind::kWord) return true;
  if (node.kind == NodeKind::kSymbol)
    return node.name != "pi" && node.name != "e" && node.name != "i";
  return std::ranges::any_of(node.args, has_variables);
}

bool has_decimals(const Node& node) {
  return node.decimal || std::ranges::any_of(node.args, has_decimals);
}

// +1 or -1 if the node is infinite.
int infinity_of(const Node& node) {
  if (node.kind == NodeKind::kInfinity) return 1;
  return node.kind == NodeKind::kNegate ? -infinity_of(node.args[0]) : 0;
}

// Sets percent and unit, which stand outside of everything but a sign.
void read_marks(const Node& node, Scalar& scalar) {
  if (node.kind == NodeKind::kNegate) return read_marks(node.args[0], scalar);
  if (node.kind == NodeKind::kUnit) {
    const auto unit = known_unit(node.name);
    scalar.unit = unit ? *unit : node.name;
    // "5% of the students" and "$5 dollars" have marks below.
    std::string inner;
    std::swap(inner, scalar.unit);
    read_marks(node.args[0], scalar);
    scalar.unit = inner;
  }
  if (node.kind == NodeKind::kPercent) scalar.percent = true;
}

Complex complex_of(const Rational& x) {
  return Complex(Float(numerator(x)) / Float(denominator(x)));
}

Float size_of(const Complex& x) { return abs(x).real(); }

bool close(const Complex& a, const Complex& b) {
  const Float size = std::max(size_of(a), size_of(b));
  return size_of(a - b) <= Float(1e-40) + Float(1e-30) * size;
}

bool rounds_to(const Complex& a, const Complex& b) {
  const Float difference = size_of(a - b);
  return difference <= Float(5e-7) && difference <= Float(1e-5) * std::max(size_of(a), size_of(b));
}

std::vector<Complex> points_of(const Scalar& s) {
  return s.exact ? std::vector<Complex>{complex_of(*s.exact)} : s.points;
}

template <class Compare>
bool at_all_points(const Scalar& a, const Scalar& b, Compare compare) {
  const std::vector<Complex> as = points_of(a), bs = points_of(b);
  if (as.empty() || bs.empty()) return false;
  for (size_t i = 0; i < std::max(as.size(), bs.size()); ++i)
    if (!compare(as[as.size() > 1 ? i : 0], bs[bs.size() > 1 ? i : 0])) return false;
  return true;
}

bool same_value(const Scalar& a, const Scalar& b) {
  if (a.infinity != 0 || b.infinity != 0) return a.infinity == b.infinity;
  const bool rounded = (a.decimal || b.decimal) && at_all_points(a, b, rounds_to);
  if (rounded) return true;
  if (a.exact && b.exact) return *a.exact == *b.exact;
  if (a.field && b.field) return *a.field == *b.field;
  return a.form == b.form || at_all_points(a, b, close);
}

Scalar hundredfold(Scalar s) {
  if (s.exact) *s.exact *= 100;
  s.field.reset();
  for (Complex& point : s.points) point *= 100;
  s.form = "100*" + s.form;
  return s;
}

}  // namespace

std::string form_of(const Node& node) {
  std::vector<std::string> args;
  for (const Node& arg : node.args) args.push_back(form_of(arg));
  if (node.kind == NodeKind::kAdd || node.kind == NodeKind::kMultiply) std::ranges::sort(args);
  std::string out = std::to_string(static_cast<int>(node.kind)) + node.name;
  if (node.kind == NodeKind::kNumber) out += node.number.str();
  out += '(';
  for (const std::string& arg : args) out += arg + ' ';
  return out + ')';
}

std::optional<Scalar> scalar_of(const Node& node) {
  if (!is_expression(node)) return std::nullopt;
  Scalar scalar;
  scalar.infinity = infinity_of(node);
  if (scalar.infinity != 0) return scalar;
  read_marks(node, scalar);
  scalar.decimal = has_decimals(node);
  scalar.form = form_of(node);
  scalar.exact = exact_value(node);
  if (scalar.exact) return scalar;
  scalar.field = field_value(node);
  const size_t points = has_variables(node) ? kNumericPoints : 1;
  for (size_t point = 0; point < points; ++point) {
    const auto value = numeric_value(node, point);
    if (!value) {
      scalar.points.clear();
      break;
    }
    scalar.points.push_back(*value);
  }
  return scalar;
}

bool same(const Scalar& a, const Scalar& b) {
  if (same_value(a, b)) return true;
  if (a.percent == b.percent) return false;
  return a.percent ? same_value(hundredfold(a), b) : same_value(a, hundredfold(b));
}

bool units_differ(const Scalar& a, const Scalar& b) {
  const bool bases = a.unit.starts_with("base ") && b.unit.starts_with("base ");
  return a.unit != b.unit && (bases || (known_unit(a.unit) && known_unit(b.unit)));
}

bool proportional(const Scalar& a, const Scalar& b, int* c_sign) {
  const std::vector<Complex> as = points_of(a), bs = points_of(b);
  if (as.empty() || as.size() != bs.size()) return false;
  std::vector<Complex> ratios;
  for (size_t i = 0; i < as.size(); ++i) {
    if (size_of(as[i]) < Float(1e-40) || size_of(bs[i]) < Float(1e-40)) return false;
    ratios.push_back(as[i] / bs[i]);
    if (!close(ratios[i], ratios[0])) return false;
  }
  if (c_sign == nullptr) return true;
  if (abs(ratios[0].imag()) > Float(1e-30) * size_of(ratios[0])) return false;
  *c_sign = ratios[0].real() > 0 ? 1 : -1;
  return true;
}

std::optional<Float> real_of(const Scalar& scalar) {
  const std::vector<Complex> points = points_of(scalar);
  if (points.size() != 1 || scalar.infinity != 0) return std::nullopt;
  if (abs(points[0].imag()) > Float(1e-40)) return std::nullopt;
  return points[0].real();
}

}  // namespace tracewise::math
