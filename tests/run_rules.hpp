// What must be true of a run that has come to its end, whatever went wrong on its way.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace tracewise {

struct RunRules {
  uint64_t steps = 0;
  uint64_t groups_per_batch = 0;
  uint64_t max_staleness = 0;
};

// The rules that the run in `root` breaks, a sentence a line; empty: none.
//   - Every group that was issued is committed, none is missing, each in exactly one batch.
//   - No batch has more or less groups than it should.
//   - No token of a logged rollout is older than the bound allows.
//   - There is one line of metrics for each step, and a whole checkpoint of the last one.
std::string broken_rules(const std::filesystem::path& root, const RunRules& rules);

}  // namespace tracewise
