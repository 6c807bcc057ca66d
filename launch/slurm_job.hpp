// A launch as a Slurm job of its own: written to RUN/job.sbatch and handed to sbatch. Inside its
// allocation the job is `tracewise launch` with the same words.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "launch/config.hpp"

namespace tracewise {

struct SlurmJob {
  std::filesystem::path run;       // absolute
  std::filesystem::path folder;    // that relative paths of the words start from
  std::string binary;              // absolute
  std::vector<std::string> words;  // of `tracewise launch`, run folder included
  bool resume = false;
};

// The batch script. Slurm's SIGTERM before the job's time is over leaves the run time for a
// checkpoint.
std::string job_script(const Config& config, const SlurmJob& job);

// Writes the script and submits it. `on_submitted` gets the job's id. Blocks until sbatch has
// answered, 60 s at most, or with `wait` until the job has ended; gives its exit code then, else 0.
// kBadInput: the folder holds a run already, or sbatch refuses, in its own words. kIo: there is no
// sbatch. The process must have no other children (process_group.hpp).
[[nodiscard]] Result<int> submit_job(
    const Config& config, const SlurmJob& job, bool wait,
    const std::function<void(const std::string& id)>& on_submitted);

}  // namespace tracewise
