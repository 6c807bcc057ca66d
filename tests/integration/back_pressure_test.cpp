// A learner that takes long over its batches, while generators, tracers and builders in other
// processes could go on for ever: what each process holds stays as it is.
#include <unistd.h>

#include <catch2/catch.hpp>

#include "actors/admission.hpp"
#include "actors/sqlite.hpp"
#include "tests/integration/small_task.hpp"
#include "tests/process_tree.hpp"

using namespace tracewise;
namespace fs = std::filesystem;

namespace {

constexpr uint64_t kGroupsPerBatch = 64, kGroupSize = 16, kMaxStaleness = 2;

// Resident memory in MB; 0 if it is gone.
double resident_mb(pid_t pid) {
  std::ifstream statm("/proc/" + std::to_string(pid) + "/statm");
  double pages = 0, resident = 0;
  statm >> pages >> resident;
  return resident * static_cast<double>(::sysconf(_SC_PAGE_SIZE)) / 1e6;
}

uint64_t issued_groups(const fs::path& file) {
  auto db = Database::open(file, Database::Mode::kReadOnly);
  if (!db.ok()) return 0;
  auto get = (*db)->prepare("SELECT count(*) FROM groups");
  if (!get.ok()) return 0;
  const auto row = get->step();
  return row.ok() && *row ? static_cast<uint64_t>(get->integer(0)) : 0;
}

}  // namespace

TEST_CASE("while the learner takes its time the memory of every process stays as it is") {
  const Task task;
  // A pass for each rollout and two more for reference and importance weights: seconds for a batch
  // that two generators sample in one.
  Words words = task.train(
      "run", {"run.steps=100000", "run.groups_per_batch=" + std::to_string(kGroupsPerBatch),
              "run.group_size=" + std::to_string(kGroupSize),
              "run.max_staleness=" + std::to_string(kMaxStaleness), "checkpoint.every_steps=0",
              "trainer.micro_batch_tokens=1", "loss.kl_beta=0.01", "loss.importance_cap=2",
              "run.generators=1", "cluster.topology=local", "cluster.head.tracers=0",
              "cluster.nodes=[{name=\"gen0\",generators=1},{name=\"gen1\",generators=1},"
              "{name=\"trace0\",tracers=1}]"});
  words[1] = "launch";
  Process process(words, task / "launch");
  const auto steps = [&] {
    const std::string metrics = slurp(task / "run/metrics.jsonl");
    return static_cast<uint64_t>(std::count(metrics.begin(), metrics.end(), '\n'));
  };
  // From the second batch on everything has been used once.
  REQUIRE(wait_until([&] { return steps() == 1; }));
  const uint64_t limit = issue_limit(1, kMaxStaleness, kGroupsPerBatch);
  REQUIRE(wait_until([&] { return issued_groups(task / "run/run.db") == limit || steps() > 1; }));
  const std::vector<ProcessMark> nodes = descendants(process.pid());
  REQUIRE(nodes.size() == 4);
  std::vector<std::vector<double>> memory(nodes.size());
  while (steps() == 1) {
    for (size_t i = 0; i < nodes.size(); ++i) memory[i].push_back(resident_mb(nodes[i].pid));
    CHECK(issued_groups(task / "run/run.db") == limit);
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  process.signal(SIGKILL);  // first, or it would start the nodes again
  process.wait();
  for (const ProcessMark& node : nodes) ::kill(node.pid, SIGKILL);
  const size_t samples = memory[0].size();
  REQUIRE(samples >= 10);
  // All that may be under way, at twice what a rollout, its values and its advantages take.
  constexpr double kRollouts = (kMaxStaleness + 1) * kGroupsPerBatch * kGroupSize;
  for (size_t i = 0; i < nodes.size(); ++i) {
    INFO(memory[i].front() << " MB, " << memory[i][samples / 2] << " MB half-way, "
                           << memory[i].back() << " MB; " << samples << " samples");
    CHECK(memory[i].back() - memory[i].front() < kRollouts * 0.008);
    // By now everybody but the learner has nothing left to do.
    CHECK(memory[i].back() - memory[i][samples / 2] < 4);
  }
  CHECK(wait_until([&] { return count_alive(nodes) == 0; }));
}
