// The rollouts of an evaluation as JSON lines, which `tracewise trace` and `tracewise report` read.
// The first line tells how many there are; docs/evaluation.md has the fields.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "actors/eval_result.hpp"
#include "launch/trace_view.hpp"
#include "messages/result.hpp"

namespace tracewise {

class Tokenizer;

// Writes them to `file`, which appears whole or not at all. `rollouts` ascend by group and sample
// and are of the sets of `result`. `advantages` has the steps' of each rollout, or is empty. kIo.
Result<void> save_rollouts(const std::filesystem::path& file, const EvalResult& result,
                           std::span<const TracedRollout> rollouts,
                           std::span<const std::vector<double>> advantages,
                           const Tokenizer& tokenizer);

// Views with their set and id, in the file's order. kBadInput names file and line where it is not
// what save_rollouts() wrote, or was cut.
Result<std::vector<RolloutView>> load_rollouts(const std::filesystem::path& file);

}  // namespace tracewise
