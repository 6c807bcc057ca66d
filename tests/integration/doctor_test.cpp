// The doctor of the real binary, here and on hosts that programs called ssh stand in for.
#include <sys/socket.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "launch/held_port.hpp"
#include "tests/integration/other_build.hpp"
#include "tests/integration/small_task.hpp"
#include "tests/process_tree.hpp"

using namespace tracewise;
namespace fs = std::filesystem;

namespace {

struct Examined {
  int exit_code = -1;
  nlohmann::json findings;
  std::string err;

  // "HOST CHECK", of all that failed.
  std::vector<std::string> failed() const {
    std::vector<std::string> all;
    for (const auto& f : findings) {
      if (f["level"] == "FAIL")
        all.push_back(f["host"].get<std::string>() + " " + f["check"].get<std::string>());
    }
    return all;
  }
  nlohmann::json of(const std::string& host, const std::string& check) const {
    const auto found = std::ranges::find_if(
        findings, [&](const auto& f) { return f["host"] == host && f["check"] == check; });
    return found == findings.end() ? nlohmann::json() : *found;
  }
};

Examined examine(const Task& task, const Words& sets) {
  Words words = task.train("run", {"engine.kv_blocks=64", "run.generators=1", "engine.threads=1"});
  words.erase(words.begin());
  words[0] = "doctor";
  words.push_back("--json");
  for (const std::string& set : sets) words.insert(words.end(), {"--set", set});
  const Finished finished = run_tracewise(words);
  INFO(finished.out << finished.err);
  REQUIRE(finished.out.starts_with("{"));
  const auto all = nlohmann::json::parse(finished.out);
  CHECK(all["ok"] == (finished.exit_code == 0));
  return {finished.exit_code, all["findings"], finished.err};
}

const std::string kNodes =
    "cluster.nodes=[{name=\"gen0\",generators=1},{name=\"trace0\",tracers=1}]";

// A program called ssh that runs the remote command here, but for the host "refused".
class FakeSsh {
 public:
  explicit FakeSsh(const Task& task) : path_(::getenv("PATH")) {
    fs::create_directories(task / "bin");
    const fs::path file = task / "bin/ssh";
    const std::string script =
        "#!/bin/sh\nfor word; do host=$command; command=$word; done\n"
        "case $host in localhost) echo 'ssh: Permission denied (publickey).' >&2; exit 255;; esac\n"
        "exec /bin/sh -c \"$command\"\n";
    REQUIRE(write_file(file, script).ok());
    fs::permissions(file, fs::perms::owner_all);
    ::setenv("PATH", ((task / "bin").string() + ":" + path_).c_str(), 1);
  }
  ~FakeSsh() { ::setenv("PATH", path_.c_str(), 1); }

 private:
  const std::string path_;
};

}  // namespace

TEST_CASE("the doctor finds nothing wrong where a run can be launched") {
  const Task task;
  const Examined examined = examine(task, {"cluster.topology=local", kNodes});
  CHECK(examined.failed().empty());
  CHECK(examined.exit_code == 0);
  CHECK(examined.of("127.0.0.1", "door of trace0")["level"] == "ok");
  CHECK(examined.of("127.0.0.1", "model folder")["level"] == "ok");
  CHECK_FALSE(fs::exists(task / "run"));
  CHECK(descendants(::getpid()).empty());
}

TEST_CASE("all that is wrong on a host is told at once") {
  const Task task;
  const auto held = hold_port("127.0.0.1", 0);
  REQUIRE(held.ok());
  REQUIRE(::listen(held->fd.get(), 1) == 0);
  const std::string port = std::to_string(held->port);
  const Examined examined = examine(
      task, {"cluster.topology=local", "model.dir=" + (task / "nowhere").string(),
             "cluster.nodes=[{name=\"gen0\",generators=1,devices=[\"cuda:0\"],port=" + port +
                 "},{name=\"trace0\",tracers=1}]"});
  CHECK(examined.exit_code == 2);
  CHECK(examined.failed() == std::vector<std::string>{"127.0.0.1 door of gen0",
                                                      "127.0.0.1 model folder",
                                                      "127.0.0.1 device cuda:0"});
  const auto door = examined.of("127.0.0.1", "door of gen0");
  CHECK(door["found"].get<std::string>().find(port) != std::string::npos);
  CHECK(door["fix"] == "End what listens there, or choose another port for gen0.");
  const auto device = examined.of("127.0.0.1", "device cuda:0");
  CHECK(device["fix"].get<std::string>().find("CPU build") != std::string::npos);
}

TEST_CASE("hosts are visited by ssh and look for each other, and one that refuses is one failure") {
  const Task task;
  const FakeSsh ssh(task);
  const Words nodes = {"cluster.topology=ssh", "cluster.head.host=127.0.0.1",
                       "cluster.nodes=[{name=\"gen0\",host=\"127.0.0.2\",generators=1},"
                       "{name=\"trace0\",host=\"127.0.0.3\",tracers=1},"
                       "{name=\"gen1\",host=\"localhost\",generators=1}]"};
  const Examined examined = examine(task, nodes);
  CHECK(examined.exit_code == 2);
  CHECK(examined.failed() == std::vector<std::string>{"localhost reachable"});
  CHECK(examined.of("localhost", "reachable")["found"] ==
        "it cannot be reached: ssh: Permission denied (publickey).");
  CHECK(examined.of("127.0.0.2", "way to others")["found"] == "all 2 entered");
  CHECK(examined.of("127.0.0.3", "way to others")["found"] == "all 2 entered");

  Words other = nodes;
  other.push_back("cluster.binary=" + other_build(task).string());
  const Examined others = examine(task, other);
  CHECK(others.exit_code == 2);
  const auto failed = others.failed();
  CHECK(std::ranges::count(failed, "127.0.0.2 same build") == 1);
  CHECK(std::ranges::count(failed, "127.0.0.3 same build") == 1);
  CHECK(std::ranges::count(failed, "localhost reachable") == 1);
  // Its door would refuse it too.
  CHECK(std::ranges::any_of(
      failed, [](const std::string& f) { return f.starts_with("127.0.0.2 way to"); }));
}
