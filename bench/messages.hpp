// What is measured of messages between two processes, on both sides alike.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "messages/records.hpp"
#include "messages/result.hpp"

namespace tracewise::bench {

struct Exchange {
  double per_second = 0;  // round trips
  double p50_us = 0;      // of a round trip
  double p99_us = 0;
  std::string way = "";  // of those that the reference has; empty: there is one way
};

// What bench/ray_messages.py answers. kCorrupt: it is no such line.
[[nodiscard]] Result<Exchange> exchange_from_line(std::string_view line);

// A rollout as a generator makes it whose message has `bytes` at most, and at most 16 fewer;
// bytes >= 500.
Rollout rollout_of(size_t bytes);

}  // namespace tracewise::bench
