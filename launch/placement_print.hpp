// A placement for people and for programs: what tracewise launch --dry-run prints.
#pragma once

#include <string>
#include <vector>

#include "launch/memory_estimate.hpp"
#include "launch/placement.hpp"

namespace tracewise {

// estimates[i] is of placement.nodes[i].
std::string placement_table(const Placement& placement,
                            const std::vector<MemoryEstimate>& estimates);
// {"nodes": [{"name", "host", "command": [...], "port", "seats": {...}, "devices", "memory"}]};
// port 0 is any, memory in bytes.
std::string placement_json(const Placement& placement,
                           const std::vector<MemoryEstimate>& estimates);

}  // namespace tracewise
