// Runs in a real Slurm, inside of allocations and as jobs that launch submits.
#include <catch2/catch.hpp>

#include "tests/integration/launched_run.hpp"
#include "tests/net/slurm_lab.hpp"
#include "tests/run_rules.hpp"
#include "tests/skip.hpp"

namespace tracewise {

std::string why_skipped() { return SlurmLab::missing(); }

namespace {

constexpr int kSteps = 6;

Words sets(int steps) {
  return {"run.steps=" + std::to_string(steps),
          "optimizer.schedule=constant",
          "run.log_rollouts=4",
          "run.progress_seconds=0",
          "cluster.topology=slurm",
          "cluster.nodes=[{name=\"gen0\",generators=1},{name=\"gen1\",generators=1},"
          "{name=\"trace0\",tracers=1}]"};
}

Words in_allocation(const Words& words) {
  Words all = {"/usr/bin/salloc", "--quiet", "--kill-command=TERM", "--nodes=1", "--ntasks=4"};
  all.insert(all.end(), words.begin(), words.end());
  return all;
}

// A launch outside of an allocation, which submits itself and waits for the job.
Words submitted(const Task& task, const std::string& name, int steps) {
  Words all = sets(steps);
  all.push_back("cluster.slurm.job_options=[\"--nodes=1\",\"--ntasks=4\"]");
  Words words = launch_words(task, name, all);
  words.push_back("--wait");
  return words;
}

}  // namespace

TEST_CASE("a run inside an allocation of Slurm gives the weights of one process and leaves none") {
  const SlurmLab slurm;
  const Task task;
  REQUIRE(task.run("one", task.train("one", {"optimizer.schedule=constant"})) == 0);
  LaunchedRun run(task, "four", in_allocation(launch_words(task, "four", sets(kSteps))));
  const int code = run.process().wait(std::chrono::seconds(120));
  INFO(run.all_logs());
  REQUIRE(code == 0);
  CHECK(broken_rules(run.root(), {kSteps, 4, 0}) == "");
  CHECK(task.weights("four") == task.weights("one"));
  CHECK(wait_until([&] { return slurm.processes().empty(); }));
}

TEST_CASE("a job of Slurm that is cancelled ends with all its processes") {
  const SlurmLab slurm;
  const Task task;
  const Words words = launch_words(task, "cancelled", sets(100000));
  const bool by_sbatch = GENERATE(false, true);
  INFO("by sbatch: " << by_sbatch);
  Words job = in_allocation(words);
  if (by_sbatch) {
    std::string script = "#!/bin/sh\nexec";
    for (const std::string& word : words) script += " '" + word + "'";
    REQUIRE(write_file(task / "job", script + "\n").ok());
    job = {"/usr/bin/sbatch",   "--wait",    "--nodes=1", "--ntasks=4", "--output",
           task / "job-output", task / "job"};
  }
  LaunchedRun run(task, "cancelled", job);
  const bool trains = run.reaches(2);
  INFO(run.all_logs() << slurp(task / "job-output"));
  REQUIRE(trains);
  Process cancel({"/usr/bin/scancel", "--user=" + std::to_string(::geteuid())}, task / "scancel");
  REQUIRE(cancel.wait(std::chrono::seconds(20)) == 0);
  CHECK(run.process().wait(std::chrono::seconds(40)) > 0);
  CHECK(wait_until([&] { return slurm.processes().empty(); }));
}

TEST_CASE("a launch outside of an allocation becomes a job that gives the same weights") {
  const SlurmLab slurm;
  const Task task;
  REQUIRE(task.run("one", task.train("one", {"optimizer.schedule=constant"})) == 0);
  LaunchedRun run(task, "job", submitted(task, "job", kSteps));
  const int code = run.process().wait(std::chrono::seconds(120));
  INFO(run.all_logs());
  REQUIRE(code == 0);
  CHECK(run.events().find("is submitted") != std::string::npos);
  CHECK(broken_rules(run.root(), {kSteps, 4, 0}) == "");
  CHECK(task.weights("job") == task.weights("one"));
  CHECK(wait_until([&] { return slurm.processes().empty(); }));
}

TEST_CASE("such a job is stopped with a checkpoint by the command that its launch has named") {
  const SlurmLab slurm;
  const Task task;
  LaunchedRun run(task, "stopped", submitted(task, "stopped", 100000));
  const bool trains = run.reaches(2);
  INFO(run.all_logs());
  REQUIRE(trains);
  const std::string said = run.process().out();
  const std::string id = said.substr(4, said.find(' ', 4) - 4);  // "job ID is submitted"
  Process cancel({"/usr/bin/scancel", "--batch", "--signal=TERM", id}, task / "scancel");
  REQUIRE(cancel.wait(std::chrono::seconds(20)) == 0);
  CHECK(run.process().wait(std::chrono::seconds(40)) == 130);
  CHECK(wait_until([&] { return slurm.processes().empty(); }));
  const uint64_t step = static_cast<uint64_t>(run.steps());
  CHECK(std::filesystem::exists(run.root() / "checkpoints" / ("step-" + std::to_string(step)) /
                                "state.json"));
}

}  // namespace tracewise
