#include <cmath>
#include <string_view>

#include "messages/random.hpp"
#include "rollout/math/evaluate.hpp"

namespace tracewise::math {
namespace {

constexpr uint64_t kPrime = (uint64_t{1} << 61) - 1;
// A power of x^(kPrime - 1) is 1, so degrees and sizes stay far below it.
constexpr double kMaxSize = 1e15;
constexpr int64_t kMaxExponent = 1'000'000'000'000'000;

__extension__ using Wide = unsigned __int128;

uint64_t times(uint64_t a, uint64_t b) {
  return static_cast<uint64_t>(static_cast<Wide>(a) * b % kPrime);
}

uint64_t power(uint64_t base, uint64_t exponent) {
  uint64_t out = 1;
  for (; exponent > 0; exponent >>= 1) {
    if (exponent & 1) out = times(out, base);
    base = times(base, base);
  }
  return out;
}

uint64_t inverse(uint64_t x) { return power(x, kPrime - 2); }

struct Sized {
  uint64_t value = 0;
  double size = 0;  // bits or degree at most
};

uint64_t reduced(const Integer& x) {
  Integer rest = x % kPrime;
  if (rest < 0) rest += kPrime;
  return static_cast<uint64_t>(rest);
}

Sized constant(const Integer& x) {
  return {reduced(x), x == 0 ? 1 : 1 + static_cast<double>(msb(Integer(abs(x))))};
}

Sized variable(std::string_view name, size_t point) {
  uint64_t hash = 0xcbf29ce484222325;  // FNV-1a
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return {SplitMix(hash, point).next() % kPrime, 1};
}

std::optional<Sized> quotient(const Sized& a, const Sized& b) {
  if (b.value == 0) return std::nullopt;
  return Sized{times(a.value, inverse(b.value)), a.size + b.size};
}

std::optional<Sized> value_at(const Node& node, size_t point);

std::optional<Sized> letters(const Node& node, size_t point) {
  if (!node.bare) return variable(node.name, point);
  Sized out{1, 0};
  for (const char c : node.name) {
    const Sized letter = variable({&c, 1}, point);
    out = {times(out.value, letter.value), out.size + letter.size};
  }
  return out;
}

std::optional<Sized> power_at(const Node& node, size_t point) {
  const auto exponent = whole_value(node.args[1], kMaxExponent);
  if (!exponent) return std::nullopt;
  const auto base = value_at(node.args[0], point);
  if (!base) return std::nullopt;
  if (base->value == 0 && *exponent <= 0) return std::nullopt;
  const auto magnitude = static_cast<uint64_t>(std::abs(*exponent));
  Sized out{power(base->value, magnitude), base->size * static_cast<double>(magnitude)};
  if (*exponent < 0) out.value = inverse(out.value);
  return out;
}

std::optional<Sized> folded(const Node& node, size_t point) {
  const bool sum = node.kind == NodeKind::kAdd;
  Sized out{sum ? uint64_t{0} : uint64_t{1}, 0};
  for (const Node& arg : node.args) {
    const auto next = value_at(arg, point);
    if (!next) return std::nullopt;
    out.value = sum ? (out.value + next->value) % kPrime : times(out.value, next->value);
    out.size += next->size;  // of a sum: more than the larger, because of denominators
  }
  return out;
}

std::optional<Sized> unbounded_value_at(const Node& node, size_t point) {
  switch (node.kind) {
    case NodeKind::kNumber: {
      return quotient(constant(numerator(node.number)), constant(denominator(node.number)));
    }
    case NodeKind::kSymbol:
      if (node.name == "i") return std::nullopt;
      return variable(node.name, point);
    case NodeKind::kWord:
      return letters(node, point);
    case NodeKind::kAdd:
    case NodeKind::kMultiply:
      return folded(node, point);
    case NodeKind::kNegate: {
      auto out = value_at(node.args[0], point);
      if (out) out->value = (kPrime - out->value) % kPrime;
      return out;
    }
    case NodeKind::kDivide: {
      const auto above = value_at(node.args[0], point), below = value_at(node.args[1], point);
      return above && below ? quotient(*above, *below) : std::nullopt;
    }
    case NodeKind::kPercent: {
      const auto out = value_at(node.args[0], point);
      return out ? quotient(*out, constant(100)) : std::nullopt;
    }
    case NodeKind::kUnit:
      return value_at(node.args[0], point);
    case NodeKind::kPower:
      return power_at(node, point);
    case NodeKind::kFactorial:
    case NodeKind::kFunction: {
      const auto exact = exact_value(node);
      if (!exact) return std::nullopt;
      return quotient(constant(numerator(*exact)), constant(denominator(*exact)));
    }
    default:
      return std::nullopt;
  }
}

std::optional<Sized> value_at(const Node& node, size_t point) {
  auto out = unbounded_value_at(node, point);
  if (out && !(out->size <= kMaxSize)) return std::nullopt;
  return out;
}

}  // namespace

std::optional<FieldValue> field_value(const Node& node) {
  FieldValue out{};
  for (size_t point = 0; point < kFieldPoints; ++point) {
    const auto value = value_at(node, point);
    if (!value) return std::nullopt;
    out[point] = value->value;
  }
  return out;
}

}  // namespace tracewise::math
