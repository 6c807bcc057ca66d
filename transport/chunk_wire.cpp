#include "transport/chunk_wire.hpp"

#include <algorithm>

#include "transport/little_endian.hpp"

namespace tracewise {
namespace {

constexpr uint32_t kMagic = 0x6b637774;  // "twck"

}  // namespace

std::array<std::byte, kChunkHeaderBytes> to_bytes(const ChunkHeader& header) {
  std::array<std::byte, kChunkHeaderBytes> out{};
  const uint32_t status = header.refusal ? static_cast<uint32_t>(*header.refusal) + 1 : 0;
  put_little_endian(out.data(), kMagic);
  put_little_endian(out.data() + 4, status);
  put_little_endian(out.data() + 8, header.chunk);
  put_little_endian(out.data() + 16, header.bytes);
  put_little_endian(out.data() + 24, header.checksum);
  return out;
}

Result<ChunkHeader> chunk_header(std::span<const std::byte, kChunkHeaderBytes> bytes) {
  const auto status = get_little_endian<uint32_t>(bytes.data() + 4);
  if (get_little_endian<uint32_t>(bytes.data()) != kMagic ||
      status > static_cast<uint32_t>(ErrorClass::kInternal) + 1) {
    return corrupt("what came is no header of a chunk");
  }
  ChunkHeader header;
  if (status > 0) header.refusal = static_cast<ErrorClass>(status - 1);
  header.chunk = get_little_endian<uint64_t>(bytes.data() + 8);
  header.bytes = get_little_endian<uint64_t>(bytes.data() + 16);
  header.checksum = get_little_endian<uint64_t>(bytes.data() + 24);
  if (header.refusal && header.bytes > kMaxRefusalBytes) {
    return corrupt("a refusal of " + std::to_string(header.bytes) + " bytes exceeds the limit of " +
                   std::to_string(kMaxRefusalBytes));
  }
  return header;
}

WeightsManifest wanted_by(const WeightsPull& pull) {
  WeightsManifest wanted;
  wanted.version = pull.version;
  wanted.epoch = pull.epoch;
  wanted.bytes = pull.bytes;
  wanted.checksum = pull.checksum;
  return wanted;
}

uint64_t chunk_count(uint64_t bytes, uint64_t chunk_bytes) {
  return bytes / chunk_bytes + (bytes % chunk_bytes != 0 ? 1 : 0);
}

uint64_t chunk_size(uint64_t bytes, uint64_t chunk_bytes, uint64_t chunk) {
  return std::min(chunk_bytes, bytes - chunk * chunk_bytes);
}

}  // namespace tracewise
