// Whether ranks on these devices can add their numbers up: asked before a run depends on it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "messages/result.hpp"

namespace tracewise {

struct AllReduceCheck {
  int64_t bytes = 0;   // of each rank's tensor
  double seconds = 0;  // of the slowest rank, once they were connected
};

// Sums a tensor over one rank a device ("cpu" or "cuda:N", two at least), each in a thread of its
// own, and compares. Blocks for three times `limit_ms` at most. Errors are a rank's, kInternal: a
// sum is wrong.
[[nodiscard]] Result<AllReduceCheck> check_all_reduce(const std::vector<std::string>& devices,
                                                      int64_t limit_ms);

// What this build's NCCL calls itself; empty: a build without it.
std::string nccl_version();

}  // namespace tracewise
