// The nodes of a run as a table for a terminal.
#pragma once

#include <string>
#include <vector>

#include "actors/control.hpp"

namespace tracewise {

// A line for each seat, with the groups that are on their way or were finished through it.
std::string nodes_table(const std::vector<NodeStatus>& nodes);

}  // namespace tracewise
