// Runs over three hosts by ssh, and what networks do to them. Weights stay those of a run in one
// process, because training is synchronous.
#include <catch2/catch.hpp>

#include "tests/integration/launched_run.hpp"
#include "tests/net/host_lab.hpp"
#include "tests/run_rules.hpp"
#include "tests/skip.hpp"
#include "tests/small_disk.hpp"

namespace tracewise {

std::string why_skipped() { return HostLab::missing(); }

namespace {

constexpr int kSteps = 8;
constexpr RunRules kRules{kSteps, 4, 0};
constexpr size_t kHead = 0, kGenerators = 1, kTracer = 2;  // hosts

Words peaceful() {
  return {"run.steps=" + std::to_string(kSteps), "optimizer.schedule=constant",
          "run.log_rollouts=4", "checkpoint.every_steps=2", "run.progress_seconds=0"};
}

struct Reference {
  Reference() { REQUIRE(task.run("peace", task.train("peace", peaceful())) == 0); }
  Task task;
};
const Task& reference() {
  static const Reference once;
  return once.task;
}

std::string toml_list(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "[\"" : ",\"") + word + "\"";
  return text + "]";
}

// A lab and a run on it: the head on the first host, a generator each as gen0 on the second and
// gen1 on the third, where the tracer is too.
class HostsRun {
 public:
  explicit HostsRun(const std::string& name, const Words& more = {})
      : name_(name), run_(reference(), name, lab.on(kHead, words(more))) {}

  HostLab lab{3};
  LaunchedRun* operator->() { return &run_; }

  pid_t generator() const {
    const auto nodes = lab.nodes(kGenerators);
    REQUIRE(nodes.size() == 1);
    return nodes[0];
  }

  // To be called once all faults are over.
  void check_end() {
    const int code = run_.process().wait(std::chrono::seconds(90));
    INFO(run_.all_logs());
    REQUIRE(code == 0);
    CHECK(broken_rules(run_.root(), kRules) == "");
    CHECK(reference().weights(name_, kSteps) == reference().weights("peace", kSteps));
    for (size_t host = 0; host < lab.size(); ++host) {
      INFO("host " << host);
      CHECK(wait_until([&] { return lab.processes(host).empty(); }));
    }
  }

 private:
  Words words(const Words& more) {
    Words sets = peaceful();
    for (const std::string& set :
         {std::string("cluster.topology=ssh"), "cluster.head.host=" + lab.address(kHead),
          "cluster.nodes=[{name=\"gen0\",host=\"" + lab.address(kGenerators) +
              "\",generators=1},{name=\"trace0\",host=\"" + lab.address(kTracer) + "\",tracers=1}]",
          std::string("cluster.ssh.user=root"),
          "cluster.ssh.port=" + std::to_string(lab.ssh_port()),
          "cluster.ssh.options=" + toml_list(lab.ssh_options()),
          std::string("cluster.heartbeat_ms=100"), std::string("cluster.suspect_ms=800"),
          std::string("cluster.lost_ms=3000")})
      sets.push_back(set);
    sets.insert(sets.end(), more.begin(), more.end());
    return launch_words(reference(), name_, sets);
  }

  std::string name_;
  LaunchedRun run_;
};

}  // namespace

TEST_CASE("a run over three hosts by ssh gives the weights of one process, and leaves none") {
  HostsRun run("hosts");
  CHECK(wait_until([&] {
    return run.lab.nodes(kHead).size() == 2 && run.lab.nodes(kGenerators).size() == 1 &&
           run.lab.nodes(kTracer).size() == 1;
  }));
  run.check_end();
}

TEST_CASE("a network that loses one packet in twenty changes nothing") {
  HostsRun run("loss");
  REQUIRE(run->reaches(1));
  for (size_t host = 0; host < run.lab.size(); ++host) run.lab.lose_packets(host, 5);
  REQUIRE(run->reaches(4));
  CHECK(run.lab.lost_packets() > 0);
  run.check_end();
}

TEST_CASE("a link that needs longer for a version than suspect_ms makes a run slower, no more") {
  HostsRun run("slow");
  REQUIRE(run->reaches(1));
  run.lab.slow_down(kGenerators, 8000);  // a version has 1.1 MB
  run.check_end();
  CHECK(count_of(run->node_log(), "is lost") == 0);
}

TEST_CASE("a host that is black-holed is lost in time, notices, and comes back by itself") {
  HostsRun run("black-hole");
  REQUIRE(run->reaches(2));
  run.lab.black_hole(kGenerators, true);
  const auto begun = std::chrono::steady_clock::now();
  CHECK(run->logs("node gen0 is lost: it was silent for"));
  const auto took = std::chrono::steady_clock::now() - begun;
  CHECK(took > std::chrono::milliseconds(2000));
  CHECK(took < std::chrono::milliseconds(6000));
  CHECK(run.lab.lost_packets() > 0);
  run.lab.black_hole(kGenerators, false);
  CHECK(run->logs("node gen0 is ready", 2));
  run.check_end();
  CHECK(count_of(run->events(), "the head was silent for") == 1);
  CHECK(count_of(run->events(), "is started again") == 0);
}

TEST_CASE("a node that vanishes without a word is lost in time, and is started again") {
  HostsRun run("half-open");
  REQUIRE(run->reaches(2));
  run.lab.black_hole(kGenerators, true);
  ::kill(run.generator(), SIGKILL);
  CHECK(run->logs("node gen0 is lost: it was silent for"));
  run.lab.black_hole(kGenerators, false);
  run.check_end();
  CHECK(count_of(run->events(), "gen0 is started again") == 1);
}

TEST_CASE("a node whose connection with the head is reset joins it again") {
  HostsRun run("reset-head");
  REQUIRE(run->reaches(2));
  run.lab.reset(kHead, kGenerators);
  run.check_end();
  CHECK(count_of(run->events(), "is started again") == 0);
}

TEST_CASE("a node that loses its connection before the head does waits for its own place") {
  HostsRun run("parted");
  REQUIRE(run->reaches(2));
  run.lab.freeze(kGenerators, kHead);
  run.lab.reset(kGenerators, kHead);
  run.check_end();
  CHECK(count_of(run->events(), "a node gen0 belongs to the run already") > 0);
  CHECK(count_of(run->node_log(), "node gen0 is lost: it was silent for") == 1);
  CHECK(count_of(run->events(), "is started again") == 0);
}

TEST_CASE("a connection between two nodes that is reset is made again") {
  HostsRun run("reset-nodes");
  REQUIRE(run->reaches(2));
  run.lab.reset(kGenerators, kTracer);
  run.check_end();
  CHECK(count_of(run->node_log(), "node gen0 is lost: its connection with node trace0 broke") == 1);
  CHECK(count_of(run->events(), "is started again") == 0);
}

TEST_CASE("a generator that is killed while its probes are under way costs nothing but time") {
  HostsRun run("probe");
  REQUIRE(run->reaches(2));
  // What the tracer asks for never comes to the generator: the run stands still at its next probes.
  run.lab.mute(kTracer, kGenerators, true);
  long step = run->steps();
  int still = 0;
  CHECK(wait_until([&] {
    still = run->steps() == step ? still + 1 : 0;
    step = run->steps();
    return still == 100;
  }));
  CHECK(step < kSteps);
  ::kill(run.generator(), SIGKILL);
  run.lab.mute(kTracer, kGenerators, false);
  run.check_end();
}

TEST_CASE("a generator that is killed while weights come to it costs nothing but time") {
  HostsRun run("weights");
  REQUIRE(run->reaches(2));
  const uint64_t weights = reference().weights("peace", kSteps).size();
  run.lab.slow_down(kGenerators, 1600);  // a version takes 5 s
  const long step = run->steps();
  REQUIRE(run->reaches(step + 1));
  const uint64_t before = run.lab.bytes_to(kGenerators);
  CHECK(wait_until([&] { return run.lab.bytes_to(kGenerators) > before + weights / 4; }));
  CHECK(run.lab.bytes_to(kGenerators) < before + weights);
  ::kill(run.generator(), SIGKILL);
  run.lab.slow_down(kGenerators, 0);
  run.check_end();
}

TEST_CASE("a disk that is full on the head ends the launch, which can be resumed with more room") {
  constexpr uint64_t kMegabyte = uint64_t{1} << 20;
  const Task& task = reference();
  SmallDisk disk(task / "disk", 16 * kMegabyte);  // some checkpoints of 3.4 MB
  Words sets = peaceful();
  for (const char* set :
       {"cluster.nodes=[{name=\"gen0\",generators=1},{name=\"trace0\",tracers=1}]",
        "checkpoint.every_steps=1", "checkpoint.keep_last=100"})
    sets.push_back(set);
  LaunchedRun run(task, "disk/run", launch_words(task, "disk/run", sets));
  CHECK(run.reaches(1));
  const auto processes = run.processes();
  CHECK(run.process().wait(std::chrono::seconds(30)) == 2);
  const std::string said = run.process().err();
  INFO(said);
  CHECK(said.find("No space left on device") != std::string::npos);
  CHECK(std::count(said.begin(), said.end(), '\n') == 1);
  CHECK(count_of(run.events(), "is started again") == 0);
  CHECK(processes.size() == 3);
  CHECK(count_alive(processes) == 0);
  disk.resize(200 * kMegabyte);
  const int code = task.run("resumed", {TRACEWISE_BINARY, "launch", "--resume", run.root()});
  INFO(task.err());
  REQUIRE(code == 0);
  CHECK(broken_rules(run.root(), kRules) == "");
  CHECK(task.weights("disk/run", kSteps) == task.weights("peace", kSteps));
}

}  // namespace tracewise
