// Which ways weights may take between processes.
#pragma once

#include <cstdint>
#include <string>

namespace tracewise {

enum class WeightsWay : uint8_t {
  kAuto,  // the nearest that works: shared memory, NCCL, connections
  kTcp,   // connections alone
  kNccl,  // NCCL, and connections where it fails
};

// What a node has for them.
struct WeightsWays {
  WeightsWay way = WeightsWay::kAuto;
  std::string nccl_device;  // "cuda:N", where it takes part in broadcasts; empty: in none
  bool operator==(const WeightsWays&) const = default;
};

}  // namespace tracewise
