// The run that a chaos test disturbs.
#pragma once

#include <cstdint>

namespace tracewise {

// Prints what happens. False, with the reasons printed and the run folder kept, if something is
// not true afterwards that must be. What it needs and cannot have is thrown as std::runtime_error.
bool chaos_run(uint64_t faults, uint64_t seed, bool over_hosts);

}  // namespace tracewise
