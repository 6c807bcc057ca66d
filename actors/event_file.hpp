// TensorBoard's event file: TFRecords of Event messages, encoded by hand because four fields of
// tensorflow/core/util/event.proto do not need TensorFlow.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "messages/records.hpp"

namespace tracewise {

// CRC-32C (Castagnoli), reflected, as in RFC 3720; crc32c("123456789") = 0xe3069283.
uint32_t crc32c(std::string_view bytes);

// length (u64) | masked crc32c of length (u32) | bytes | masked crc32c of bytes (u32),
// little-endian.
std::string tf_record(std::string_view bytes);

// Event messages, not yet framed. Wall time is in seconds since 1970. Values that are not finite
// are left out: TensorBoard would draw them as marks on the chart.
std::string version_event(double wall_time);  // the first of every file: "brain.Event:2"
// Tells TensorBoard to forget what earlier files of this folder say of `step` and later.
std::string restart_event(double wall_time, uint64_t step);
std::string scalars_event(double wall_time, uint64_t step, std::span<const Metric> metrics);

}  // namespace tracewise
