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

struct HeadSetup;  // actors/cluster.hpp

using ProgressReport = std::function<void(const Progress&)>;  // may be empty

// "runs/TIME", absolute: where a run goes whose config names no folder.
std::string default_run_dir();

// kBadInput for the first of `sets` (key=value) that would make a resumed run another run.
[[nodiscard]] Result<void> check_resume_sets(const std::vector<std::string>& sets);

// The head's part of a run over several nodes, in config.launch.run_dir, new or resumed.
Result<RunSummary> train_as_head(Config config, bool resume, std::stop_token stop,
                                 const ProgressReport& report, const HeadSetup& head);

// Starts a new run in config.launch.run_dir, or in runs/TIME where that is empty. `folder` (may be
// null) gets the folder's path before training starts.
Result<RunSummary> start_training(Config config, std::stop_token stop, const ProgressReport& report,
                                  std::filesystem::path* folder);

// Goes on with the run in `folder` from its newest whole checkpoint, by its own config. `sets`
// (key=value) may move where it ends, how it is watched and where its seats are (run.steps,
// run.budget_seconds, run.progress_seconds, checkpoint.*, deadlines.*, cluster.*); anything else
// would make it another run and is kBadInput.
Result<RunSummary> resume_training(const std::filesystem::path& folder,
                                   const std::vector<std::string>& sets, std::stop_token stop,
                                   const ProgressReport& report);

}  // namespace tracewise
