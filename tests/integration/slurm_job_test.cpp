// A launch outside a Slurm allocation, with programs called sbatch and srun that stand in for it.
#include <algorithm>
#include <catch2/catch.hpp>

#include "tests/integration/small_task.hpp"

using namespace tracewise;
namespace fs = std::filesystem;

namespace {

// sbatch notes its words; with --wait it runs the job, in an allocation, as Slurm would.
class FakeSlurm {
 public:
  explicit FakeSlurm(const Task& task) : path_(::getenv("PATH")), words_(task / "sbatch-words") {
    fs::create_directories(task / "bin");
    put(task / "bin/srun",
        "while case $1 in --*) :;; *) false;; esac; do shift; done; exec \"$@\"");
    put(task / "bin/sbatch", "echo \"$@\" >" + words_.string() +
                                 "; echo '4711;cluster'; [ $2 = --wait ] || exit 0; shift 2; "
                                 "SLURM_JOB_ID=4711 exec /bin/sh $1 >/dev/null 2>&1");
    ::setenv("PATH", ((task / "bin").string() + ":" + path_).c_str(), 1);
  }
  ~FakeSlurm() { ::setenv("PATH", path_.c_str(), 1); }

  static void put(const fs::path& file, const std::string& script) {
    REQUIRE(write_file(file, "#!/bin/sh\n" + script + "\n").ok());
    fs::permissions(file, fs::perms::owner_all);
  }
  std::string words() const { return slurp(words_); }

 private:
  const std::string path_;
  const fs::path words_;
};

Words launch(const Task& task, const Words& options = {}) {
  Words words = task.train(
      "run", {"run.generators=1", "cluster.topology=slurm", "optimizer.schedule=constant",
              "cluster.head.host=127.0.0.1", "cluster.slurm.job_options=[\"--partition=a b\"]",
              "cluster.nodes=[{name=\"gen0\",host=\"127.0.0.1\",generators=1}]"});
  words[1] = "launch";
  words.insert(words.end(), options.begin(), options.end());
  return words;
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("a launch outside an allocation submits itself as a job, and can wait for its end") {
  const Task task;
  const FakeSlurm slurm(task);
  Process submitted(launch(task), task / "submitted");
  REQUIRE(submitted.wait(std::chrono::seconds(20)) == 0);
  CHECK(has(submitted.out(), "job 4711 is submitted: "));
  const fs::path script = task / "run/job.sbatch";
  CHECK(slurm.words() == "--parsable " + script.string() + "\n");
  const std::string text = slurp(script);
  CHECK(has(text, "#SBATCH --output=" + (task / "run/logs/job.log").string() + "\n"));
  CHECK(has(text, "#SBATCH '--partition=a b'\n"));
  CHECK_FALSE(fs::exists(task / "run/run.db"));

  REQUIRE(task.run("one", task.train("one", {"optimizer.schedule=constant"})) == 0);
  Process waited(launch(task, {"--wait"}), task / "waited");
  CHECK(waited.wait() == 0);
  INFO(waited.out() << waited.err());
  CHECK(slurm.words() == "--parsable --wait " + script.string() + "\n");
  CHECK(task.weights("run") == task.weights("one"));

  Process again(launch(task), task / "again");
  CHECK(again.wait(std::chrono::seconds(20)) == 2);
  CHECK(has(again.err(), "the folder already holds a run"));
  Process resumed({TRACEWISE_BINARY, "launch", "--resume", task / "run", "--set", "run.steps=7"},
                  task / "resumed");
  CHECK(resumed.wait(std::chrono::seconds(20)) == 0);
  CHECK(has(slurp(script), " launch --resume " + (task / "run").string() + " --set run.steps=7\n"));
}

TEST_CASE("what sbatch refuses is told in its own words, and a dry run shows the script alone") {
  const Task task;
  const FakeSlurm slurm(task);
  FakeSlurm::put(task / "bin/sbatch", "echo 'sbatch: error: invalid partition' >&2; exit 1");
  Process refused(launch(task), task / "refused");
  CHECK(refused.wait(std::chrono::seconds(20)) == 2);
  CHECK(refused.err() ==
        "tracewise: sbatch did not take the job, exit code 1: sbatch: error: invalid partition\n");
  fs::remove_all(task / "run");
  Process dry(launch(task, {"--dry-run"}), task / "dry");
  CHECK(dry.wait(std::chrono::seconds(20)) == 0);
  INFO(dry.err());
  CHECK(has(dry.out(), "\njob.sbatch:\n#!/bin/sh\n"));
  CHECK_FALSE(fs::exists(task / "run"));
}
