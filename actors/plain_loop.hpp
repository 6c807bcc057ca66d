// The same parts as the actors', called one after the other in one thread: the reference that the
// actors are compared with, for equal weights and for speed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "actors/run_options.hpp"
#include "actors/run_parts.hpp"
#include "messages/result.hpp"

namespace tracewise {

struct PlainLoopResult {
  WeightsPtr weights;  // of the last step
  uint64_t steps = 0;
  uint64_t rollouts = 0;
  uint64_t response_tokens = 0;
  double seconds = 0;  // from the first group to the last commit
};

// Synchronous training without ledger, checkpoints and evaluations. One engine, one tracer;
// options.steps or options.budget_seconds ends it. kUnsupported for max_staleness > 0.
Result<PlainLoopResult> run_plain_loop(const RunOptions& options, const RunParts& parts,
                                       const std::filesystem::path& dump_dir);

}  // namespace tracewise
