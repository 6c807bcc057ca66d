// A training run from its config: what the commands train and demo start.
#pragma once

#include <filesystem>
#include <functional>
#include <stop_token>
#include <string>
#include <vector>

#include "actors/progress.hpp"
#include "actors/run_control.hpp"
#include "launch/config.hpp"

namespace tracewise {

using ProgressReport = std::function<void(const Progress&)>;  // may be empty

// Starts a new run in config.launch.run_dir, or in runs/TIME where that is empty. `folder` (may be
// null) gets the folder's path before training starts.
Result<RunSummary> start_training(Config config, std::stop_token stop, const ProgressReport& report,
                                  std::filesystem::path* folder);

// Goes on with the run in `folder` from its newest whole checkpoint, by its own config. `sets`
// (key=value) may move where it ends and how it is watched (run.steps, run.budget_seconds,
// run.progress_seconds, checkpoint.*, deadlines.*); anything else would make it another run and is
// kBadInput.
Result<RunSummary> resume_training(const std::filesystem::path& folder,
                                   const std::vector<std::string>& sets, std::stop_token stop,
                                   const ProgressReport& report);

}  // namespace tracewise
