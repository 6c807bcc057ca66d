// A run of the real binary over several processes that goes on until somebody ends it.
#pragma once

#include <algorithm>
#include <catch2/catch.hpp>
#include <fstream>
#include <nlohmann/json.hpp>

#include "actors/sqlite.hpp"
#include "tests/integration/small_task.hpp"

namespace tracewise {

// The words of a run in folder "run", in one process, whose reward function never answers: its
// rollouts wait for it until their time is over.
inline Words hanging_verifier(const Task& task) {
  std::ofstream(task / "reward.py") << "import time\n"
                                       "def reward(response, answer):\n"
                                       "    time.sleep(3600)\n";
  return task.train(
      "run", {"run.steps=100000", "verifier.kind=python",
              "verifier.file=" + (task / "reward.py").string(), "verifier.timeout_ms=300000"});
}

// Over a head, a generator node gen0 and a tracer node trace0.
class EndlessRun {
 public:
  explicit EndlessRun(const Task& task, const Words& sets = {})
      : task_(task), root_(task / "run"), process_(words(sets), task / "launch") {
    const bool begun = wait_until([&] { return steps() >= 1; });
    INFO(process_.out() << process_.err());
    REQUIRE(begun);
  }

  const std::filesystem::path& root() const { return root_; }
  Process& process() { return process_; }
  long steps() const {
    const std::string metrics = slurp(root_ / "metrics.jsonl");
    return std::count(metrics.begin(), metrics.end(), '\n');
  }

  // What `tracewise nodes` says of a node; null if it is not named.
  nlohmann::json node(const std::string& name) const {
    const Finished asked = run_tracewise({"nodes", root_, "--json"});
    INFO(asked.err);
    REQUIRE(asked.exit_code == 0);
    const auto answer = nlohmann::json::parse(asked.out);
    for (const auto& node : answer.at("nodes")) {
      if (node["node"] == name) return node;
    }
    return {};
  }

  int64_t count(const char* sql) const {
    const auto database = Database::open(root_ / "run.db", Database::Mode::kReadOnly);
    REQUIRE(database.ok());
    auto get = (*database)->prepare(sql);
    REQUIRE(get.ok());
    REQUIRE(get->step().value());
    return get->integer(0);
  }

 private:
  Words words(const Words& sets) const {
    Words all = {"run.generators=1",
                 "optimizer.schedule=constant",
                 "cluster.topology=local",
                 "run.steps=100000",
                 "checkpoint.keep_last=3",
                 "cluster.head.tracers=0",
                 "cluster.nodes=[{name=\"gen0\",generators=1},{name=\"trace0\",tracers=1}]"};
    all.insert(all.end(), sets.begin(), sets.end());
    Words words = task_.train("run", all);
    words[1] = "launch";
    return words;
  }

  const Task& task_;
  std::filesystem::path root_;
  Process process_;
};

}  // namespace tracewise
