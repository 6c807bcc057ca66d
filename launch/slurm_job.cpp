#include "launch/slurm_job.hpp"

#include <algorithm>

#include "launch/placement.hpp"
#include "launch/process_group.hpp"
#include "model/file_io.hpp"

namespace tracewise {
namespace fs = std::filesystem;
namespace {

constexpr std::chrono::seconds kAnswerLimit{60};
constexpr int64_t kSignalMargin = 30;  // seconds, for what a stop takes beside its deadlines
constexpr const char* kChild = "sbatch";

fs::path script_file(const SlurmJob& job) { return job.run / "job.sbatch"; }

Result<void> write_script(const Config& config, const SlurmJob& job) {
  std::error_code failure;
  if (!job.resume && fs::exists(job.run / "run.db", failure)) {
    return bad_input(job.run.string() +
                     ": the folder already holds a run; resume it or choose another folder");
  }
  fs::create_directories(job.run / "logs", failure);
  if (failure) return io_error(job.run.string() + ": cannot be made: " + failure.message());
  return write_file(script_file(job), job_script(config, job));
}

}  // namespace

std::string job_script(const Config& config, const SlurmJob& job) {
  const Deadlines& deadlines = config.run.deadlines;
  const int64_t before = (deadlines.stop_ms + deadlines.exit_ms) / 1000 + kSignalMargin;
  std::string script = "#!/bin/sh\n";
  const auto option = [&](const std::string& word) {
    script += "#SBATCH " + shell_word(word) + "\n";
  };
  option("--job-name=tracewise");
  option("--output=" + (job.run / "logs" / "job.log").string());
  option("--open-mode=append");
  option("--chdir=" + job.folder.string());
  option("--signal=B:TERM@" + std::to_string(before));
  for (const std::string& word : config.cluster.slurm_job_options) option(word);
  script += "\nexec ";
  for (const std::string& word : program_words(job.binary)) script += word + " ";
  script += "launch";
  for (const std::string& word : job.words) script += " " + shell_word(word);
  return script + "\n";
}

Result<int> submit_job(const Config& config, const SlurmJob& job, bool wait,
                       const std::function<void(const std::string& id)>& on_submitted) {
  TW_TRY(write_script(config, job));
  TW_ASSIGN(const auto group, ProcessGroup::create());
  std::vector<std::string> words = {kChild, "--parsable"};
  if (wait) words.push_back("--wait");
  words.push_back(script_file(job).string());
  TW_TRY(group->start(kChild, words));
  group->close_input(kChild);

  const TimePoint deadline = std::chrono::steady_clock::now() + kAnswerLimit;
  std::string id, last_words;
  for (;;) {
    // A job that is waited for may take days; whoever waits can leave.
    const bool open_end = wait && !id.empty();
    const TimePoint until =
        open_end ? std::chrono::steady_clock::now() + std::chrono::hours(1) : deadline;
    for (const ChildEvent& event : group->wait(until)) {
      if (event.kind == ChildEvent::Kind::kErr) last_words = event.line;
      if (event.kind == ChildEvent::Kind::kOut && id.empty()) {
        id = event.line.substr(0, event.line.find(';'));  // "ID" or "ID;CLUSTER"
        on_submitted(id);
      }
      if (event.kind != ChildEvent::Kind::kExit) continue;
      if (!id.empty()) return event.exit_code;
      return bad_input("sbatch did not take the job, exit code " + std::to_string(event.exit_code) +
                       (last_words.empty() ? "" : ": " + last_words));
    }
    if (!open_end && std::chrono::steady_clock::now() >= deadline)
      return Error{ErrorClass::kDeadline, "sbatch did not answer within 60 s"};
  }
}

}  // namespace tracewise
