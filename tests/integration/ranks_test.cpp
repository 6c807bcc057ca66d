// Runs of the real binary whose learner has two ranks, over five processes of this machine.
#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <sstream>

#include "model/model_folder.hpp"
#include "tests/integration/small_task.hpp"
#include "tests/process_tree.hpp"

using namespace tracewise;

namespace {

constexpr size_t kNodes = 5;  // the head among them

Words launch(const Task& task, const std::string& name, Words sets = {}) {
  sets.insert(sets.begin(),
              {"run.generators=1", "optimizer.schedule=constant", "cluster.topology=local",
               "cluster.head.tracers=0",
               "cluster.nodes=[{name=\"gen0\",generators=1},{name=\"gen1\",generators=1},"
               "{name=\"trace0\",tracers=1},{name=\"rank1\",ranks=1}]"});
  Words words = task.train(name, sets);
  words[1] = "launch";
  return words;
}

std::vector<float> weights(const Task& task, const std::string& name, int step) {
  const auto folder =
      load_model_weights(task / name / "checkpoints" / ("step-" + std::to_string(step)) / "model");
  REQUIRE(folder.ok());
  const auto bytes = folder->weights->bytes();
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), values.size() * sizeof(float));
  return values;
}

long steps(const std::filesystem::path& run) {
  const std::string metrics = slurp(run / "metrics.jsonl");
  return std::count(metrics.begin(), metrics.end(), '\n');
}

}  // namespace

TEST_CASE("a learner of two ranks gives the weights of one, up to rounding") {
  const Task task;
  REQUIRE(task.run("one", task.train("one", {"optimizer.schedule=constant"})) == 0);
  Process process(launch(task, "two"), task / "two-launch");
  std::vector<ProcessMark> nodes;
  CHECK(wait_until([&] {
    nodes = descendants(process.pid());
    return nodes.size() == kNodes;
  }));
  CHECK(process.wait() == 0);
  INFO(process.out() << process.err());
  CHECK(count_alive(nodes) == 0);
  const std::vector<float> one = weights(task, "one", 6), two = weights(task, "two", 6);
  REQUIRE(two.size() == one.size());
  double largest = 0;
  for (size_t i = 0; i < one.size(); ++i)
    largest = std::max(largest, std::abs(static_cast<double>(one[i]) - two[i]));
  INFO(largest);
  CHECK(largest < 1e-5);
  CHECK(largest > 0);  // the sums are of other parts, so the last bits differ
}

// The sum of a metric over a run's steps.
double total(const std::filesystem::path& run, const std::string& metric) {
  std::istringstream lines(slurp(run / "metrics.jsonl"));
  double sum = 0;
  for (std::string line; std::getline(lines, line);) {
    const auto step = nlohmann::json::parse(line);
    if (step.contains(metric)) sum += step[metric].get<double>();
  }
  return sum;
}

TEST_CASE("generators take their weights from the doors of both ranks, and the run is the same") {
  const Task task;
  const Words ranks = {"run.steps=12"};
  Process shared(launch(task, "shared", ranks), task / "shared-launch");
  CHECK(shared.wait() == 0);
  Process process(launch(task, "doors", {"run.steps=12", "cluster.weights=tcp"}),
                  task / "doors-launch");
  CHECK(process.wait() == 0);
  const std::string log = slurp(task / "doors/logs/node.log");
  INFO(process.out() << process.err() << log);
  CHECK(log.find("takes its weights by tcp from node ") != std::string::npos);
  // Two generators take 13 versions each, of one chunk; the last ones after the last step.
  const double bytes = static_cast<double>(task.weights("doors", 12).size());
  const double head = total(task / "doors", "weights/bytes_from/head");
  const double rank1 = total(task / "doors", "weights/bytes_from/rank1");
  CHECK(head > 0);
  CHECK(rank1 > 0);
  CHECK(head + rank1 > 20 * 0.9 * bytes);
  CHECK(total(task / "shared", "weights/bytes_from/head") == 0);
  CHECK(task.weights("doors", 12) == task.weights("shared", 12));
}

TEST_CASE("a run that loses a rank of its learner goes back to its checkpoint by itself") {
  const Task task;
  Process process(launch(task, "lost", {"run.steps=100000", "checkpoint.every_steps=3"}),
                  task / "lost-launch");
  REQUIRE(wait_until([&] { return steps(task / "lost") >= 4; }));
  std::vector<ProcessMark> nodes = descendants(process.pid());
  REQUIRE(nodes.size() == kNodes);
  std::ranges::sort(nodes, {}, &ProcessMark::pid);
  ::kill(nodes[2].pid, SIGKILL);  // they are started by name: gen0, gen1, rank1, trace0, head
  const auto said = [&](const std::string& what) {
    return process.out().find(what) != std::string::npos;
  };
  CHECK(wait_until([&] { return said("rank1 is started again"); }));
  CHECK(wait_until([&] { return said("learner rank 1 is gone"); }));
  CHECK(wait_until([&] { return said("steps are done again"); }));
  const long again = steps(task / "lost");
  const bool on = wait_until([&] { return steps(task / "lost") >= again + 3; });
  INFO(process.out() << process.err() << slurp(task / "lost/logs/node.log"));
  CHECK(on);
  nodes = descendants(process.pid());
  CHECK(nodes.size() == kNodes);
  process.signal(SIGINT);
  CHECK(process.wait(std::chrono::seconds(15)) == 130);
  CHECK(count_alive(nodes) == 0);
}
