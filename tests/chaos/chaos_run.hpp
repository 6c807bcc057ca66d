// A run, faults drawn from a seed, and what must be true after them.
#pragma once

#include <cstdint>

namespace tracewise {

struct Chaos {
  uint64_t faults = 10;
  uint64_t seed = 0;
  uint64_t ranks = 1;       // of the learner: 1 or 2, the second beside a tracer
  bool over_hosts = false;  // of tests/net/host_lab; else processes of this machine
};

// Prints each fault as it happens. False: a rule was broken; says which, and keeps the run's
// folder. Throws std::runtime_error where the machine refuses what it needs.
bool chaos_run(const Chaos& chaos);

}  // namespace tracewise
