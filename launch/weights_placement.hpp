// Which nodes take part in broadcasts of weights by NCCL, and which serve them over connections.
#pragma once

#include "launch/placement.hpp"

namespace tracewise {

// Fills in what each node has for weights: where the learner is on a GPU, each node with a
// generator on one takes part, if the config asks for it or leaves it open and this build can. Says
// whether ranks serve them.
void place_weights(const Config& config, Placement& placement);

// Whether the learner's ranks beside the head serve weights too: where there are any, and a placed
// generator takes its weights over connections, by what can be told before the run.
bool ranks_serve_weights(const Config& config);

// Why the config cannot have its weights by NCCL, if it asks for that.
[[nodiscard]] Result<void> check_weights(const Config& config, const Placement& placement);

}  // namespace tracewise
