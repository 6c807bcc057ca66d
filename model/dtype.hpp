// Elements of the dtypes that weights are stored in: "F32", "BF16", "F16" (IEEE 754 binary16).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace tracewise {

// Writes `from`, elements of `from_dtype`, to `to` as elements of `to_dtype` ("F32" or "BF16"):
// exact, or rounded to nearest even where BF16 cannot hold them. Addresses need no alignment.
void convert_elements(std::string_view from_dtype, std::span<const std::byte> from,
                      std::string_view to_dtype, std::byte* to);

// The index of the first NaN or infinity, if there is one.
std::optional<uint64_t> first_not_finite(std::string_view dtype, std::span<const std::byte> bytes);

}  // namespace tracewise
