// What a launch finds out before it starts anything.
#pragma once

#include "launch/placement.hpp"

namespace tracewise {

// This program's path and this host's name.
LaunchHost launch_host();

// Whether the config's nodes are started by srun, but this process is in no allocation.
bool lacks_allocation(const Config& config);

// The first thing wrong that this host can see, as one sentence: contradictions in the config, a
// host name that doesn't resolve, a fixed port that is in use here, NCCL where it cannot be. Blocks
// for 10 s at most.
[[nodiscard]] Result<void> check_launch(const Config& config, const Placement& placement);

}  // namespace tracewise
