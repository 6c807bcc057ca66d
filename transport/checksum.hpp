// xxh3-64, the checksum of weights and of their chunks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace tracewise {

uint64_t xxh3(std::span<const std::byte> bytes);

}  // namespace tracewise
