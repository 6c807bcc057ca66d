// Runs of the real binary over four processes of this machine, and what ends them: no process is
// ever left.
#include <netinet/in.h>
#include <sys/socket.h>

#include <catch2/catch.hpp>

#include "tests/integration/launched_run.hpp"
#include "tests/integration/other_build.hpp"

using namespace tracewise;
namespace fs = std::filesystem;

namespace {

constexpr size_t kNodes = 4;  // the head among them

// Over a head with the learner, two generator nodes and a tracer node.
Words launch(const Task& task, const std::string& name, Words sets = {}) {
  sets.insert(sets.begin(),
              "cluster.nodes=[{name=\"gen0\",generators=1},{name=\"gen1\",generators=1},"
              "{name=\"trace0\",tracers=1}]");
  return launch_words(task, name, sets);
}

// Without an end of its own, and with a step's checkpoint after each.
const Words kEndless = {"run.steps=100000", "checkpoint.keep_last=3"};

// A launch that trains, and all its processes.
struct Running {
  explicit Running(const Task& task, const std::string& name)
      : root(task / name), process(launch(task, name, kEndless), task / (name + "-launch")) {
    REQUIRE(wait_until([&] { return steps() >= 2; }));
    nodes = descendants(process.pid());
    REQUIRE(nodes.size() == kNodes);
  }
  long steps() const {
    const std::string metrics = slurp(root / "metrics.jsonl");
    return std::count(metrics.begin(), metrics.end(), '\n');
  }
  bool has_checkpoint() const {
    for (const auto& entry : fs::directory_iterator(root / "checkpoints")) {
      if (fs::exists(entry.path() / "state.json")) return true;
    }
    return false;
  }
  pid_t head() const { return std::stoi(slurp(root / "lock")); }

  fs::path root;
  Process process;
  std::vector<ProcessMark> nodes;
};

std::string one_line(const Process& process) {
  const std::string err = process.err();
  CHECK(std::count(err.begin(), err.end(), '\n') == 1);
  return err;
}

}  // namespace

TEST_CASE("a run over four processes gives the weights of a run in one, and leaves none") {
  const Task task;
  REQUIRE(task.run("one", task.train("one", {"optimizer.schedule=constant"})) == 0);
  Process process(launch(task, "four"), task / "four-launch");
  std::vector<ProcessMark> nodes;
  const bool seen = wait_until([&] {
    nodes = descendants(process.pid());
    return nodes.size() == kNodes;
  });
  CHECK(seen);
  REQUIRE(process.wait() == 0);
  INFO(process.out() << process.err());
  CHECK(count_alive(nodes) == 0);
  CHECK(task.weights("four") == task.weights("one"));
  CHECK(process.out().find("finished at step 6") != std::string::npos);
  for (const char* node : {"gen0", "gen1", "trace0"}) {
    const std::string log = slurp(task / ("four/logs/" + std::string(node) + ".log"));
    CHECK(log.starts_with(node + std::string(": ")));
    CHECK(log.find("joined the run") != std::string::npos);
  }
  const fs::perms secret = fs::status(task / "four/secrets").permissions();
  CHECK((secret & (fs::perms::group_all | fs::perms::others_all)) == fs::perms::none);
}

TEST_CASE("a signal stops a launched run with a checkpoint, and it can be resumed") {
  const Task task;
  for (const int signal : {SIGTERM, SIGHUP}) {
    Running run(task, "stopped-" + std::to_string(signal));
    run.process.signal(signal);
    CHECK(run.process.wait(std::chrono::seconds(15)) == 130);
    INFO(run.process.out() << run.process.err());
    CHECK(count_alive(run.nodes) == 0);
    CHECK(run.has_checkpoint());
    if (signal == SIGHUP) continue;
    const long steps = run.steps();
    CHECK(task.run("again", {TRACEWISE_BINARY, "launch", "--resume", run.root, "--set",
                             "run.steps=" + std::to_string(steps + 1)}) == 0);
    INFO(task.err());
    CHECK(run.steps() > steps);
  }
}

TEST_CASE("nodes whose launcher was killed are gone within 15 s, the head with a checkpoint") {
  const Task task;
  Running run(task, "killed");
  run.process.signal(SIGKILL);
  REQUIRE(run.process.wait() == 128 + SIGKILL);
  const auto begun = std::chrono::steady_clock::now();
  CHECK(wait_until([&] { return count_alive(run.nodes) == 0; }));
  CHECK(std::chrono::steady_clock::now() - begun < std::chrono::seconds(15));
  CHECK(run.has_checkpoint());
}

TEST_CASE("a killed node is started again, and a killed head resumes the run") {
  const Task task;
  REQUIRE(task.run("one", task.train("one", {"optimizer.schedule=constant"})) == 0);
  Running run(task, "faults");
  const pid_t head = run.head();
  for (const ProcessMark& node : run.nodes) {
    if (node.pid == head) continue;
    ::kill(node.pid, SIGKILL);
    break;
  }
  REQUIRE(
      wait_until([&] { return run.process.out().find("is started again") != std::string::npos; }));
  const auto joined = [&] {
    const std::string out = run.process.out();
    size_t count = 0;
    for (size_t at = out.find("joined the run"); at != std::string::npos;
         at = out.find("joined the run", at + 1))
      ++count;
    return count;
  };
  REQUIRE(wait_until([&] { return joined() == 4; }));
  ::kill(head, SIGKILL);
  const bool all_joined = wait_until([&] { return joined() == 7; });
  INFO(run.process.out() << slurp(run.root / "logs/head.log") << slurp(run.root / "logs/node.log"));
  REQUIRE(all_joined);
  const long steps = run.steps();
  REQUIRE(wait_until([&] { return run.steps() > steps; }));
  run.process.signal(SIGINT);
  CHECK(run.process.wait(std::chrono::seconds(15)) == 130);
  INFO(run.process.out() << run.process.err());
  CHECK(count_alive(descendants(run.process.pid())) == 0);
}

namespace {

// Programs called ssh and srun that run the remote command here, whatever the host.
class FakeRemotes {
 public:
  explicit FakeRemotes(const Task& task) : path_(::getenv("PATH")) {
    fs::create_directories(task / "bin");
    put(task / "bin/ssh", "for word; do :; done; exec /bin/sh -c \"$word\"");
    put(task / "bin/srun",
        "while case $1 in --*) :;; *) false;; esac; do shift; done; exec \"$@\"");
    ::setenv("PATH", ((task / "bin").string() + ":" + path_).c_str(), 1);
  }
  ~FakeRemotes() { ::setenv("PATH", path_.c_str(), 1); }

 private:
  static void put(const fs::path& file, const std::string& script) {
    REQUIRE(write_file(file, "#!/bin/sh\n" + script + "\n").ok());
    fs::permissions(file, fs::perms::owner_all);
  }
  const std::string path_;
};

const Words kBySsh = {"cluster.topology=ssh", "cluster.head.host=127.0.0.1",
                      "cluster.nodes=[{name=\"gen0\",host=\"127.0.0.1\",generators=1},"
                      "{name=\"trace0\",host=\"127.0.0.1\",tracers=1}]"};

}  // namespace

TEST_CASE("a run whose nodes are reached through ssh or srun gives the same weights") {
  const Task task;
  const FakeRemotes remotes(task);
  REQUIRE(task.run("one", task.train("one", {"optimizer.schedule=constant"})) == 0);
  for (const std::string topology : {"ssh", "slurm"}) {
    Words sets = kBySsh;
    sets.push_back("cluster.topology=" + topology);
    if (topology == "slurm") ::setenv("SLURM_JOB_ID", "1", 1);  // in an allocation
    Process process(launch(task, topology, sets), task / (topology + "-launch"));
    CHECK(process.wait() == 0);
    INFO(process.out() << process.err());
    CHECK(task.weights(topology) == task.weights("one"));
  }
  ::unsetenv("SLURM_JOB_ID");
}

TEST_CASE("another build's binary on a host is refused, and both builds are named") {
  const Task task;
  const FakeRemotes remotes(task);
  const std::string build = own_build();
  Words sets = kBySsh;
  sets.push_back("cluster.binary=" + other_build(task).string());
  Process process(launch(task, "other-run", sets), task / "other-launch");
  CHECK(process.wait(std::chrono::seconds(20)) == 2);
  const std::string err = one_line(process);
  CHECK(err.find(build) != std::string::npos);
  CHECK(err.find("build " + build.substr(2)) == std::string::npos);
  CHECK(err.find(build.substr(2), err.find(build.substr(2)) + 1) != std::string::npos);
  CHECK_FALSE(fs::exists(task / "other-run/run.db"));
}

TEST_CASE("what is wrong with a launch is one sentence before anything starts") {
  const Task task;
  const int port_holder = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  REQUIRE(::bind(port_holder, reinterpret_cast<sockaddr*>(&address), size) == 0);
  REQUIRE(::listen(port_holder, 1) == 0);
  REQUIRE(::getsockname(port_holder, reinterpret_cast<sockaddr*>(&address), &size) == 0);
  const std::string port = std::to_string(ntohs(address.sin_port));
  struct Case {
    std::string name, set, said;
  };
  for (const Case& c : std::vector<Case>{
           {"port", "cluster.head.port=" + port, port},
           {"resolve", "cluster.head.host=no-such-host.invalid", "no-such-host.invalid"},
           {"roles", "cluster.nodes=[{name=\"gen0\",generators=1}]", "tracer"},
           {"model", "model.dir=" + (task / "nowhere").string(), "nowhere"},
       }) {
    INFO(c.name);
    Process process(launch(task, c.name, {c.set}), task / (c.name + "-launch"));
    CHECK(process.wait(std::chrono::seconds(20)) == 2);
    CHECK(one_line(process).find(c.said) != std::string::npos);
    CHECK_FALSE(fs::exists(task / c.name));
  }
  ::close(port_holder);
}

TEST_CASE("two launches in one run folder: the second is refused and the first named") {
  const Task task;
  Running run(task, "used");
  Process second(launch(task, "used"), task / "second");
  CHECK(second.wait(std::chrono::seconds(10)) == 2);
  CHECK(one_line(second).find(std::to_string(run.process.pid())) != std::string::npos);
  CHECK(count_alive(run.nodes) == kNodes);
}
