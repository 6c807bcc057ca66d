// Faults of processes, of the clock and of the disk's order, to the real binary on this machine.
// The run is synchronous, so whatever happens to it, its weights are those of a run in peace.
#include <sys/mman.h>

#include <catch2/catch.hpp>
#include <memory>
#include <set>
#include <sstream>

#include "tests/environment.hpp"
#include "tests/integration/launched_run.hpp"
#include "tests/run_rules.hpp"

using namespace tracewise;
namespace fs = std::filesystem;

namespace {

constexpr int kSteps = 12;
constexpr RunRules kRules{kSteps, 4, 0};

Words peaceful() {
  return {"run.steps=" + std::to_string(kSteps), "optimizer.schedule=constant",
          "run.log_rollouts=4", "checkpoint.every_steps=2", "run.progress_seconds=0"};
}

// The task of all tests here, trained in one process without any fault.
struct Reference {
  Reference() { REQUIRE(task.run("peace", task.train("peace", peaceful())) == 0); }
  Task task;
};
const Task& reference() {
  static const Reference once;
  return once.task;
}

// A head with the learner and a builder, one generator node, one tracer node: without any of them
// the run stands still, so it cannot end before the fault has come and gone.
Words launch(const std::string& name, const Words& more = {}) {
  Words sets = peaceful();
  for (const char* set :
       {"cluster.nodes=[{name=\"gen0\",generators=1},{name=\"trace0\",tracers=1}]",
        "cluster.heartbeat_ms=50", "cluster.suspect_ms=500", "cluster.lost_ms=2500"})
    sets.push_back(set);
  sets.insert(sets.end(), more.begin(), more.end());
  return launch_words(reference(), name, sets);
}

// To be called once all faults are over.
void check_end(LaunchedRun& run, const std::string& name) {
  const int code = run.process().wait(std::chrono::seconds(60));
  INFO(run.all_logs());
  REQUIRE(code == 0);
  CHECK(broken_rules(run.root(), kRules) == "");
  CHECK(reference().weights(name, kSteps) == reference().weights("peace", kSteps));
}

pid_t generator_of(const LaunchedRun& run) {
  const auto processes = run.processes();
  REQUIRE(processes.size() == 3);
  REQUIRE(processes[0].pid != run.head());
  return processes[0].pid;
}

}  // namespace

TEST_CASE("a generator's process that stands still for less than lost_ms costs nothing") {
  LaunchedRun run(reference(), "short-stop", launch("short-stop"));
  REQUIRE(run.reaches(2));
  const pid_t generator = generator_of(run);
  ::kill(generator, SIGSTOP);
  CHECK(run.logs("node gen0 is suspect"));
  ::kill(generator, SIGCONT);
  check_end(run, "short-stop");
  CHECK(count_of(run.node_log(), "is lost") == 0);
}

TEST_CASE("a generator's process that stands still for longer is lost, and comes back by itself") {
  LaunchedRun run(reference(), "long-stop", launch("long-stop"));
  REQUIRE(run.reaches(2));
  const pid_t generator = generator_of(run);
  ::kill(generator, SIGSTOP);
  CHECK(run.logs("node gen0 is lost: it was silent for"));
  ::kill(generator, SIGCONT);
  CHECK(run.logs("node gen0 is ready", 2));
  check_end(run, "long-stop");
  CHECK(count_of(run.events(), "is started again") == 0);
}

TEST_CASE("a head that stands still for longer is left by its nodes, which come back to it") {
  LaunchedRun run(reference(), "head-stop", launch("head-stop"));
  REQUIRE(run.reaches(2));
  const pid_t head = run.head();
  ::kill(head, SIGSTOP);
  CHECK(wait_until([&] { return count_of(run.events(), "the head was silent for") >= 2; }));
  ::kill(head, SIGCONT);
  check_end(run, "head-stop");
  CHECK(count_of(run.events(), "is started again") == 0);
}

TEST_CASE("killed nodes and a killed head change nothing in the weights") {
  LaunchedRun run(reference(), "kills", launch("kills", {"cluster.node_restarts=2"}));
  REQUIRE(run.reaches(2));
  const auto processes = run.processes();
  REQUIRE(processes.size() == 3);
  ::kill(processes[0].pid, SIGKILL);
  CHECK(run.logs("node gen0 is ready", 2));
  ::kill(processes[1].pid, SIGKILL);
  CHECK(run.logs("node trace0 is ready", 2));
  ::kill(processes[2].pid, SIGKILL);
  check_end(run, "kills");
}

TEST_CASE("a wall clock that jumps by a day, either way, changes nothing") {
  const fs::path file = reference() / "clock";
  REQUIRE(write_file(file, std::string(sizeof(int64_t), '\0')).ok());
  const int fd = ::open(file.c_str(), O_RDWR);
  REQUIRE(fd >= 0);
  auto* const offset = static_cast<volatile int64_t*>(
      ::mmap(nullptr, sizeof(int64_t), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  ::close(fd);
  REQUIRE(offset != MAP_FAILED);
  const Environment clock("TRACEWISE_TEST_CLOCK", file.string());
  const Environment shim("LD_PRELOAD", TRACEWISE_CLOCK_SHIM);
  LaunchedRun run(reference(), "clock-run", launch("clock-run"));
  constexpr int64_t kDay = 24 * 3600;
  REQUIRE(run.reaches(3));
  *offset = kDay;
  REQUIRE(run.reaches(6));
  *offset = -kDay;
  // A node that comes anew shows its certificate under the new time.
  ::kill(generator_of(run), SIGKILL);
  check_end(run, "clock-run");
  INFO(run.all_logs());
  CHECK(count_of(run.node_log(), "node trace0 is lost") == 0);
  CHECK(count_of(run.node_log(), "node gen0 is lost") == 1);
  std::set<std::string> days;
  std::istringstream log(run.node_log());
  for (std::string line; std::getline(log, line);) days.insert(line.substr(0, 10));
  CHECK(days.size() >= 2);  // the clock of the head did jump
  ::munmap(const_cast<int64_t*>(offset), sizeof(int64_t));
}

namespace {

// While it lives, programs die at their n-th write to a run.db.
class KillAt {
 public:
  explicit KillAt(long n)
      : file_(reference() / "kill"),
        written_(write_file(file_, std::to_string(n)).ok()),
        name_("TRACEWISE_TEST_KILL", file_.string()),
        shim_("LD_PRELOAD", TRACEWISE_KILL_SHIM) {
    REQUIRE(written_);
  }
  bool happened() const { return !fs::exists(file_); }

 private:
  fs::path file_;
  bool written_;
  Environment name_, shim_;
};

}  // namespace

TEST_CASE("a head that dies between any two writes of the ledger resumes to the same weights") {
  const long n = GENERATE(20, 61, 110, 171);
  INFO("at write " << n);
  const KillAt kill(n);
  const std::string name = "ledger-" + std::to_string(n);
  LaunchedRun run(reference(), name, launch(name));
  check_end(run, name);
  CHECK(kill.happened());
  CHECK(count_of(run.events(), "head is started again") == 1);
}

TEST_CASE("a run in one process that dies between any two writes of the ledger can be resumed") {
  const long n = GENERATE(1, 2, 3, 5, 8, 14, 15, 40, 77, 128, 191);
  INFO("at write " << n);
  const std::string name = "one-" + std::to_string(n);
  const Task& task = reference();
  {
    const KillAt kill(n);
    CHECK(task.run(name, task.train(name, peaceful())) == 128 + SIGKILL);
    CHECK(kill.happened());
  }
  const int code = task.run("again", {TRACEWISE_BINARY, "train", "--resume", task / name});
  INFO(task.err());
  REQUIRE(code == 0);
  CHECK(broken_rules(task / name, kRules) == "");
  CHECK(task.weights(name, kSteps) == task.weights("peace", kSteps));
}
