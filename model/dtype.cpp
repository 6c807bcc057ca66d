#include "model/dtype.hpp"

#include <bit>
#include <cstring>

#include "messages/check.hpp"

namespace tracewise {
namespace {

template <class T>
T load(const std::byte* p) {
  T value;
  std::memcpy(&value, p, sizeof value);
  return value;
}

struct F32 {
  using Bits = uint32_t;
  static constexpr Bits kExponent = 0x7F800000;
  static float widen(Bits bits) { return std::bit_cast<float>(bits); }
  static Bits narrow(float x) { return std::bit_cast<Bits>(x); }
};

struct BF16 {
  using Bits = uint16_t;
  static constexpr Bits kExponent = 0x7F80;
  static float widen(Bits bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }
  static Bits narrow(float x) {
    const auto word = std::bit_cast<uint32_t>(x);
    const bool nan = (word & 0x7FFFFFFFu) > 0x7F800000u;
    const uint32_t rounded = nan ? word | 0x10000u : word + 0x7FFFu + ((word >> 16) & 1);
    return static_cast<Bits>(rounded >> 16);
  }
};

struct F16 {
  using Bits = uint16_t;
  static constexpr Bits kExponent = 0x7C00;
  // The bits moved to a float's places have an exponent that is 112 too small, which a product
  // mends, also for the subnormal ones.
  static float widen(Bits bits) {
    const auto sign = static_cast<uint32_t>(bits & 0x8000) << 16;
    const auto rest = static_cast<uint32_t>(bits & 0x7FFF) << 13;
    if ((bits & kExponent) == kExponent) return std::bit_cast<float>(sign | 0x7F800000u | rest);
    return std::bit_cast<float>(sign |
                                std::bit_cast<uint32_t>(std::bit_cast<float>(rest) * 0x1p112f));
  }
};

// f(the dtype's type).
template <class F>
auto with_dtype(std::string_view dtype, F f) {
  if (dtype == "F32") return f(F32{});
  if (dtype == "BF16") return f(BF16{});
  TW_CHECK(dtype == "F16", "no elements of dtype " + std::string(dtype));
  return f(F16{});
}

template <class From, class To>
void convert(std::span<const std::byte> from, std::byte* to) {
  const size_t count = from.size() / sizeof(typename From::Bits);
  for (size_t i = 0; i < count; ++i) {
    const auto bits = load<typename From::Bits>(from.data() + i * sizeof(typename From::Bits));
    const typename To::Bits out = To::narrow(From::widen(bits));
    std::memcpy(to + i * sizeof out, &out, sizeof out);
  }
}

}  // namespace

void convert_elements(std::string_view from_dtype, std::span<const std::byte> from,
                      std::string_view to_dtype, std::byte* to) {
  TW_CHECK(to_dtype == "F32" || to_dtype == "BF16", "no cast to dtype " + std::string(to_dtype));
  if (from_dtype == to_dtype) {
    std::memcpy(to, from.data(), from.size());
    return;
  }
  with_dtype(from_dtype, [&](auto type) {
    using From = decltype(type);
    to_dtype == "F32" ? convert<From, F32>(from, to) : convert<From, BF16>(from, to);
  });
}

std::optional<uint64_t> first_not_finite(std::string_view dtype, std::span<const std::byte> bytes) {
  return with_dtype(dtype, [&](auto type) -> std::optional<uint64_t> {
    using Bits = typename decltype(type)::Bits;
    constexpr Bits kExponent = decltype(type)::kExponent;
    const size_t count = bytes.size() / sizeof(Bits);
    constexpr size_t kBlock = 4096;  // looked through without a branch an element
    for (size_t begin = 0; begin < count; begin += kBlock) {
      const size_t end = begin + kBlock < count ? begin + kBlock : count;
      bool any = false;
      for (size_t i = begin; i < end; ++i)
        any |= (load<Bits>(bytes.data() + i * sizeof(Bits)) & kExponent) == kExponent;
      if (!any) continue;
      for (size_t i = begin;; ++i)
        if ((load<Bits>(bytes.data() + i * sizeof(Bits)) & kExponent) == kExponent) return i;
    }
    return std::nullopt;
  });
}

}  // namespace tracewise
