// How a version travels over a connection of Channel::kWeights, once the hello is done. The
// receiver sends pulls (WeightsPull behind its length, as transport/hello.hpp frames it), ahead of
// their answers if it likes; the sender answers them in order, each with a header and what it
// announces: the chunk's bytes, or the sentence that says why there is none. After a refusal the
// receiver ends the connection.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "messages/records.hpp"
#include "messages/result.hpp"

namespace tracewise {

// Behind it come `bytes` bytes. On the wire: magic and status, 4 bytes each, then the other three,
// 8 bytes each, all little-endian.
struct ChunkHeader {
  std::optional<ErrorClass> refusal;  // set: what follows is a sentence
  uint64_t chunk = 0;                 // of the pull
  uint64_t bytes = 0;
  uint64_t checksum = 0;  // xxh3-64 of what follows
  bool operator==(const ChunkHeader&) const = default;
};

inline constexpr size_t kChunkHeaderBytes = 32;
inline constexpr size_t kMaxRefusalBytes = 2048;

std::array<std::byte, kChunkHeaderBytes> to_bytes(const ChunkHeader& header);

// kCorrupt: no header of ours, or a refusal longer than kMaxRefusalBytes.
[[nodiscard]] Result<ChunkHeader> chunk_header(std::span<const std::byte, kChunkHeaderBytes> bytes);

// The manifest that a pull speaks of, as far as it says.
WeightsManifest wanted_by(const WeightsPull& pull);

// A chunk's place in its buffer; its last one may be shorter.
uint64_t chunk_count(uint64_t bytes, uint64_t chunk_bytes);
uint64_t chunk_size(uint64_t bytes, uint64_t chunk_bytes, uint64_t chunk);

}  // namespace tracewise
