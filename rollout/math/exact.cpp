#include <algorithm>
#include <vector>

#include "rollout/math/evaluate.hpp"

namespace tracewise::math {
namespace {

constexpr int64_t kMaxFactorial = 1000;

unsigned bits_of(const Integer& x) { return x == 0 ? 0 : msb(abs(x)) + 1; }

bool is_whole(const Rational& x) { return denominator(x) == 1; }

std::optional<Rational> bounded(Rational x) {
  if (bits_of(numerator(x)) > kMaxBits || bits_of(denominator(x)) > kMaxBits) return std::nullopt;
  return x;
}

std::optional<Rational> power(const Rational& base, const Rational& exponent) {
  if (!is_whole(exponent)) return std::nullopt;
  if (base == 1) return base;
  if (base == 0) return exponent > 0 ? std::optional<Rational>(0) : std::nullopt;
  if (base == -1) return Rational(numerator(exponent) % 2 == 0 ? 1 : -1);
  if (abs(exponent) > kMaxBits) return std::nullopt;
  const auto times = static_cast<unsigned>(numerator(Rational(abs(exponent))));
  const unsigned bits = std::max(bits_of(numerator(base)), bits_of(denominator(base)));
  if (times > 1 && (bits - 1) * times > kMaxBits) return std::nullopt;
  const Rational out(boost::multiprecision::pow(numerator(base), times),
                     boost::multiprecision::pow(denominator(base), times));
  return bounded(exponent < 0 ? Rational(1 / out) : out);
}

Integer floor_of(const Rational& x) {
  const Integer quotient = numerator(x) / denominator(x);  // towards 0
  return x < 0 && !is_whole(x) ? Integer(quotient - 1) : quotient;
}

std::optional<Rational> function(const std::string& name, const std::vector<Rational>& args) {
  if (args.empty()) return std::nullopt;
  const Rational& x = args[0];
  if (name == "abs") return Rational(abs(x));
  if (name == "floor") return Rational(floor_of(x));
  if (name == "ceil") return Rational(-floor_of(Rational(-x)));
  if (name == "min") return *std::ranges::min_element(args);
  if (name == "max") return *std::ranges::max_element(args);
  const bool gcd_of = name == "gcd";
  if ((gcd_of || name == "lcm") && std::ranges::all_of(args, is_whole)) {
    Integer out = numerator(x);
    for (const Rational& next : args) {
      const Integer n = numerator(next);
      out = gcd_of ? Integer(gcd(out, n)) : Integer(lcm(out, n));
      if (bits_of(out) > kMaxBits) return std::nullopt;
    }
    return Rational(abs(out));
  }
  return std::nullopt;
}

std::optional<Rational> combined(const Node& node, const std::vector<Rational>& args) {
  switch (node.kind) {
    case NodeKind::kAdd:
    case NodeKind::kMultiply: {
      Rational out = args[0];
      for (size_t i = 1; i < args.size(); ++i) {
        const auto next = bounded(node.kind == NodeKind::kAdd ? Rational(out + args[i])
                                                              : Rational(out * args[i]));
        if (!next) return std::nullopt;
        out = *next;
      }
      return out;
    }
    case NodeKind::kNegate:
      return Rational(-args[0]);
    case NodeKind::kDivide:
      return args[1] == 0 ? std::nullopt : bounded(Rational(args[0] / args[1]));
    case NodeKind::kPower:
      return power(args[0], args[1]);
    case NodeKind::kPercent:
      return bounded(Rational(args[0] / 100));
    case NodeKind::kUnit:
      return args[0];
    case NodeKind::kFactorial:
    case NodeKind::kFunction: {
      if (node.kind == NodeKind::kFunction && node.name != "binom")
        return function(node.name, args);
      const auto small = [](const Rational& x) { return is_whole(x) && abs(x) <= kMaxFactorial; };
      if (!std::ranges::all_of(args, small)) return std::nullopt;
      const auto n = static_cast<int64_t>(numerator(args[0]));
      const auto out = node.kind == NodeKind::kFactorial
                           ? factorial(n)
                           : binomial(n, static_cast<int64_t>(numerator(args[1])));
      return out ? bounded(Rational(*out)) : std::nullopt;
    }
    default:
      return std::nullopt;
  }
}

}  // namespace

std::optional<Integer> factorial(int64_t n) {
  if (n < 0 || n > kMaxFactorial) return std::nullopt;
  Integer out = 1;
  for (int64_t i = 2; i <= n; ++i) out *= i;
  return out;
}

std::optional<Integer> binomial(int64_t n, int64_t k) {
  if (n < 0 || n > kMaxFactorial) return std::nullopt;
  if (k < 0 || k > n) return Integer(0);
  Integer out = 1;
  for (int64_t i = 1; i <= k; ++i) out = out * (n - k + i) / i;
  return out;
}

std::optional<Rational> exact_value(const Node& node) {
  if (node.kind == NodeKind::kNumber) return bounded(node.number);
  if (node.args.empty()) return std::nullopt;
  std::vector<Rational> args;
  for (const Node& arg : node.args) {
    auto value = exact_value(arg);
    if (!value) return std::nullopt;
    args.push_back(std::move(*value));
  }
  return combined(node, args);
}

std::optional<int64_t> whole_value(const Node& node, int64_t limit) {
  const auto value = exact_value(node);
  if (!value || !is_whole(*value) || abs(*value) > limit) return std::nullopt;
  return static_cast<int64_t>(numerator(*value));
}

}  // namespace tracewise::math
