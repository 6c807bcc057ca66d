// A Slurm of a test's own on this machine: munged, slurmctld and slurmd with their own key, ports
// and folders. The machine's own Slurm, if it has one, is not touched.
#pragma once

#include <memory>
#include <string>

#include "tests/environment.hpp"
#include "tests/process.hpp"
#include "tests/temp_dir.hpp"

namespace tracewise {

// While it lives, the commands of Slurm that this process starts talk to it. One thread uses it.
class SlurmLab {
 public:
  // Why there can be none on this machine, as one sentence; empty: there can.
  static std::string missing();

  // Returns once a job can be run; what the machine refuses is thrown as std::runtime_error.
  SlurmLab();
  // Ends the daemons and all that their jobs have left.
  ~SlurmLab();
  SlurmLab(const SlurmLab&) = delete;
  SlurmLab& operator=(const SlurmLab&) = delete;

  // Processes of jobs, Slurm's own left out.
  std::vector<pid_t> processes() const;

 private:
  std::unique_ptr<Process> start(const std::vector<std::string>& words, const std::string& name);
  std::vector<pid_t> all() const;

  TempDir dir_;
  std::unique_ptr<Environment> config_;
  std::unique_ptr<Process> munged_, controller_, daemon_;
};

}  // namespace tracewise
