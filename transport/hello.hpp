// The first exchange on a connection: who speaks and what for, and whether that fits. Each of the
// two messages goes as 4 bytes of length (little-endian) and its protobuf bytes.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "messages/records.hpp"
#include "messages/result.hpp"

namespace tracewise {

inline constexpr size_t kHelloPrefixBytes = 4;
inline constexpr size_t kMaxHelloBytes = size_t{64} << 10;  // of a message, without its prefix

// "actors", "weights", "shell", "ranks", "nccl".
const char* to_string(Channel channel);

// Whether `theirs`, from the node that the verified certificate calls `peer`, may talk to the node
// of `own`. kUnsupported: another protocol or build. kBadInput: another name than the
// certificate's, another run, or another config where both know theirs. Any thread may call.
[[nodiscard]] Result<void> check_hello(const Hello& own, const Hello& theirs,
                                       const std::string& peer);

// `message` behind its length.
std::string framed(std::string_view message);

// The length that a prefix states; kCorrupt if it is above kMaxHelloBytes.
[[nodiscard]] Result<size_t> framed_bytes(std::span<const std::byte, kHelloPrefixBytes> prefix);

}  // namespace tracewise
