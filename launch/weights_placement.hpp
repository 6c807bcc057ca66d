// Which nodes take part in broadcasts of weights by NCCL.
#pragma once

#include "launch/placement.hpp"

namespace tracewise {

// Fills in what each node has for weights: where the learner is on a GPU, each node with a
// generator on one takes part, if the config asks for it or leaves it open and this build can.
void place_weights(const Config& config, Placement& placement);

// Why the config cannot have its weights by NCCL, if it asks for that.
[[nodiscard]] Result<void> check_weights(const Config& config, const Placement& placement);

}  // namespace tracewise
