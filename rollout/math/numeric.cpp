#include <string_view>
#include <vector>

#include "messages/random.hpp"
#include "rollout/math/evaluate.hpp"

namespace tracewise::math {
namespace {

using Float = Complex::value_type;

// Beyond them the library would be slow, or the result has no digit that means anything.
const Float kMaxLog = 100'000;
const Float kMaxAngle = 1e12;
const Float kMaxHyperbolic = 1000;
constexpr int64_t kMaxExponent = 1'000'000;

const Float& pi() {
  static const Float value = boost::math::constants::pi<Float>();
  return value;
}

std::optional<Complex> finite(const Complex& x) {
  using boost::multiprecision::isfinite;
  if (!isfinite(x.real()) || !isfinite(x.imag())) return std::nullopt;
  return x;
}

bool is_zero(const Complex& x) { return x.real() == 0 && x.imag() == 0; }
bool is_real(const Complex& x) { return abs(x.imag()) < Float(1e-40); }

// 0.25..3 with either sign.
Complex variable(std::string_view name, size_t point) {
  uint64_t hash = 0x84222325cbf29ce4;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  const uint64_t bits = SplitMix(hash, point).next();
  const double size = 0.25 + 2.75 * static_cast<double>(bits >> 12) / 0x1p52;
  return Complex(Float((bits & 1) != 0 ? size : -size));
}

Float float_of(const Rational& x) { return Float(numerator(x)) / Float(denominator(x)); }

std::optional<Complex> exponential(const Complex& x) {
  if (abs(x.real()) > kMaxLog || abs(x.imag()) > kMaxAngle) return std::nullopt;
  return finite(exp(x));
}

std::optional<Complex> whole_power(Complex base, int64_t exponent) {
  if (is_zero(base)) return exponent > 0 ? std::optional<Complex>(Complex(0)) : std::nullopt;
  if (abs(log(abs(base)).real() * Float(exponent)) > kMaxLog) return std::nullopt;
  Complex out(1);
  for (uint64_t n = static_cast<uint64_t>(std::abs(exponent)); n > 0; n >>= 1) {
    if (n & 1) out *= base;
    if (n > 1) base *= base;
  }
  return finite(exponent < 0 ? Complex(1 / out) : out);
}

std::optional<Complex> power(const Complex& base, const Complex& exponent) {
  if (is_zero(base)) {
    const bool above = is_real(exponent) && exponent.real() > 0;
    return above ? std::optional<Complex>(Complex(0)) : std::nullopt;
  }
  return exponential(exponent * log(base));
}

// The real root of a negative number where there is one.
std::optional<Complex> root(const Complex& x, int64_t degree) {
  if (degree < 1) return std::nullopt;
  if (degree == 2) return finite(sqrt(x));
  const bool negative = is_real(x) && x.real() < 0 && degree % 2 == 1;
  const auto out = power(negative ? Complex(-x) : x, Complex(Float(1) / Float(degree)));
  return out && negative ? Complex(-*out) : out;
}

std::optional<Complex> logarithm(const Complex& x) {
  if (is_zero(x)) return std::nullopt;
  return finite(log(x));
}

std::optional<Complex> inverse_of(const std::optional<Complex>& x) {
  if (!x || abs(*x).real() < Float(1e-40)) return std::nullopt;
  return finite(1 / *x);
}

std::optional<Complex> trigonometric(const std::string& name, const Complex& x) {
  if (name.starts_with("arc")) {
    if (abs(x).real() > kMaxAngle) return std::nullopt;
    if (name == "arcsin") return finite(asin(x));
    if (name == "arccos") return finite(acos(x));
    const bool pole = is_real(x) == false && abs(x * x + 1).real() < Float(1e-40);
    return pole ? std::nullopt : finite(atan(x));
  }
  const bool hyperbolic = name.ends_with('h');
  const Float along = hyperbolic ? x.imag() : x.real(), across = hyperbolic ? x.real() : x.imag();
  if (abs(along) > kMaxAngle || abs(across) > kMaxHyperbolic) return std::nullopt;
  if (name == "sinh") return finite(sinh(x));
  if (name == "cosh") return finite(cosh(x));
  if (name == "sin") return finite(sin(x));
  if (name == "cos") return finite(cos(x));
  if (name == "csc") return inverse_of(sin(x));
  if (name == "sec") return inverse_of(cos(x));
  const auto quotient = [](const Complex& a, const Complex& b) -> std::optional<Complex> {
    const auto below = inverse_of(b);
    return below ? finite(a * *below) : std::nullopt;
  };
  if (name == "tan") return quotient(sin(x), cos(x));
  if (name == "cot") return quotient(cos(x), sin(x));
  if (name == "tanh") return quotient(sinh(x), cosh(x));
  return std::nullopt;
}

bool in_degrees(const Node& node) {
  if (node.kind == NodeKind::kUnit && node.name == "degree") return true;
  for (const Node& arg : node.args)
    if (in_degrees(arg)) return true;
  return false;
}

std::optional<Complex> real_function(const std::string& name, const std::vector<Complex>& args) {
  for (const Complex& arg : args)
    if (!is_real(arg)) return std::nullopt;
  Float out = args[0].real();
  if (name == "floor" || name == "ceil") {
    // A value that a rounding left beside a whole number is that number.
    const Float nearest = round(out);
    if (abs(out - nearest) < Float(1e-40)) return Complex(nearest);
    return Complex(name == "floor" ? floor(out) : ceil(out));
  }
  if (name != "min" && name != "max") return std::nullopt;
  for (const Complex& arg : args) {
    const bool better = name == "min" ? arg.real() < out : arg.real() > out;
    if (better) out = arg.real();
  }
  return Complex(out);
}

std::optional<Complex> function(const Node& node, const std::vector<Complex>& args) {
  const std::string& name = node.name;
  const Complex& x = args[0];
  if (name == "abs") return Complex(abs(x));
  if (name == "exp") return exponential(x);
  if (name == "ln") return logarithm(x);
  if (name == "cbrt") return root(x, 3);
  if (name == "sqrt") {
    if (args.size() == 1) return root(x, 2);
    const auto degree = whole_value(node.args[1], 1000);
    return degree ? root(x, *degree) : std::nullopt;
  }
  if (name == "log") {
    const auto above = logarithm(x), below = logarithm(args.size() > 1 ? args[1] : Complex(10));
    if (!above || !below || is_zero(*below)) return std::nullopt;
    return finite(*above / *below);
  }
  if (name == "min" || name == "max" || name == "floor" || name == "ceil")
    return real_function(name, args);
  const bool inverse = name.starts_with("arc");
  if (!inverse && in_degrees(node.args[0])) return trigonometric(name, x * pi() / 180);
  return trigonometric(name, x);
}

std::optional<Complex> combined(const Node& node, const std::vector<Complex>& args) {
  switch (node.kind) {
    case NodeKind::kAdd:
    case NodeKind::kMultiply: {
      Complex out = args[0];
      for (size_t i = 1; i < args.size(); ++i) {
        if (node.kind == NodeKind::kAdd)
          out += args[i];
        else
          out *= args[i];
      }
      return finite(out);
    }
    case NodeKind::kNegate:
      return Complex(-args[0]);
    case NodeKind::kDivide:
      if (is_zero(args[1])) return std::nullopt;
      return finite(args[0] / args[1]);
    case NodeKind::kPercent:
      return Complex(args[0] / 100);
    case NodeKind::kUnit:
      return args[0];
    case NodeKind::kPower:
      if (const auto whole = whole_value(node.args[1], kMaxExponent))
        return whole_power(args[0], *whole);
      return power(args[0], args[1]);
    case NodeKind::kFunction:
      return function(node, args);
    default:
      return std::nullopt;
  }
}

std::optional<Complex> leaf(const Node& node, size_t point) {
  if (node.kind == NodeKind::kNumber) return finite(Complex(float_of(node.number)));
  if (node.kind == NodeKind::kWord && node.bare) {
    Complex out(1);
    for (const char c : node.name) out *= variable({&c, 1}, point);
    return out;
  }
  if (node.kind == NodeKind::kWord) return variable(node.name, point);
  if (node.kind != NodeKind::kSymbol) return std::nullopt;
  if (node.name == "pi") return Complex(pi());
  if (node.name == "e") return exp(Complex(1));
  if (node.name == "i") return Complex(0, 1);
  return variable(node.name, point);
}

}  // namespace

std::optional<Complex> numeric_value(const Node& node, size_t point) {
  if (node.args.empty()) return leaf(node, point);
  if (const bool counted = node.kind == NodeKind::kFactorial || node.name == "binom" ||
                           node.name == "gcd" || node.name == "lcm";
      counted) {
    const auto exact = exact_value(node);
    return exact ? finite(Complex(float_of(*exact))) : std::nullopt;
  }
  std::vector<Complex> args;
  for (const Node& arg : node.args) {
    auto value = numeric_value(arg, point);
    if (!value) return std::nullopt;
    args.push_back(std::move(*value));
  }
  return combined(node, args);
}

}  // namespace tracewise::math
