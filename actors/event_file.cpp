#include "actors/event_file.hpp"

#include <array>
#include <bit>
#include <cmath>
#include <cstring>

namespace tracewise {
namespace {

constexpr std::array<uint32_t, 256> make_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82f63b78u : 0u);
    table[i] = crc;
  }
  return table;
}
constexpr std::array<uint32_t, 256> kTable = make_table();

// TensorFlow's mask, so that a checksum of data with checksums inside stays a good one.
uint32_t masked_crc32c(std::string_view bytes) {
  const uint32_t crc = crc32c(bytes);
  return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

template <class T>
std::string little_endian(T value) {
  static_assert(std::endian::native == std::endian::little, "written for little-endian machines");
  std::string bytes(sizeof value, '\0');
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}

// Protobuf wire format: a key is field number << 3 | wire type.
enum WireType : uint64_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

std::string varint(uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes.push_back(static_cast<char>(value | 0x80));
  bytes.push_back(static_cast<char>(value));
  return bytes;
}

std::string key(uint64_t field, WireType type) { return varint(field << 3 | type); }

std::string bytes_field(uint64_t field, std::string_view bytes) {
  return key(field, kBytes) + varint(bytes.size()) + std::string(bytes);
}

// Event: wall_time = 1, step = 2, file_version = 3, summary = 5, session_log = 7.
std::string event(double wall_time, uint64_t step, const std::string& what) {
  // proto3 does not write zeros.
  const std::string step_field = step == 0 ? "" : key(2, kVarint) + varint(step);
  return key(1, kFixed64) + little_endian(wall_time) + step_field + what;
}

}  // namespace

uint32_t crc32c(std::string_view bytes) {
  uint32_t crc = 0xffffffffu;
  for (const char c : bytes) crc = kTable[(crc ^ static_cast<uint8_t>(c)) & 0xff] ^ (crc >> 8);
  return crc ^ 0xffffffffu;
}

std::string tf_record(std::string_view bytes) {
  const std::string length = little_endian(uint64_t{bytes.size()});
  return length + little_endian(masked_crc32c(length)) + std::string(bytes) +
         little_endian(masked_crc32c(bytes));
}

std::string version_event(double wall_time) {
  return event(wall_time, 0, bytes_field(3, "brain.Event:2"));
}

std::string restart_event(double wall_time, uint64_t step) {
  const std::string start = key(1, kVarint) + varint(1);  // SessionLog.status = START
  return event(wall_time, step, bytes_field(7, start));
}

std::string scalars_event(double wall_time, uint64_t step, std::span<const Metric> metrics) {
  std::string summary;  // Summary: repeated Value value = 1; Value: tag = 1, simple_value = 2
  for (const Metric& metric : metrics) {
    if (!std::isfinite(metric.value)) continue;
    summary += bytes_field(1, bytes_field(1, metric.name) + key(2, kFixed32) +
                                  little_endian(static_cast<float>(metric.value)));
  }
  return event(wall_time, step, bytes_field(5, summary));
}

}  // namespace tracewise
