// Nodes that join a run of the real binary while it goes on, and leave it.
#include <algorithm>
#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "actors/sqlite.hpp"
#include "tests/integration/endless_run.hpp"
#include "tests/process_tree.hpp"

using namespace tracewise;
namespace fs = std::filesystem;

namespace {

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("a node joins a run by its token and works, another is drained, and nothing is lost") {
  const Task task;
  EndlessRun run(task);
  const fs::path token = task / "token";
  const Finished invited = run_tracewise({"invite", run.root(), "--name", "guest", "--out", token});
  INFO(invited.err);
  REQUIRE(invited.exit_code == 0);
  CHECK(fs::status(token).permissions() == (fs::perms::owner_read | fs::perms::owner_write));

  Process guest({TRACEWISE_BINARY, "join", "--token", token}, task / "guest");
  const bool works = wait_until([&] {
    const auto node = run.node("guest");
    return node.is_object() && node["state"] == "ready" && node["seats"].size() == 1 &&
           node["seats"][0]["finished"] > 0;
  });
  INFO(guest.out() << guest.err());
  REQUIRE(works);
  CHECK(contains(guest.out(), "joined the run"));

  Process again({TRACEWISE_BINARY, "join", "--token", token}, task / "again");
  CHECK(again.wait(std::chrono::seconds(20)) == 2);
  CHECK(contains(again.err(), "a node guest belongs to the run already"));

  const std::vector<ProcessMark> before = descendants(run.process().pid());
  REQUIRE(before.size() == 3);
  const Finished drained = run_tracewise({"drain", run.root(), "gen0"});
  INFO(drained.err);
  REQUIRE(drained.exit_code == 0);
  CHECK(contains(drained.out, "gen0 has left the run"));
  CHECK(run.node("gen0")["state"] == "left");
  CHECK(run.node("gen0")["reason"] == "it was drained");
  REQUIRE(wait_until([&] { return contains(run.process().out(), "gen0 has left the run"); }));
  CHECK(count_alive(before) == 2);

  const long steps = run.steps();
  REQUIRE(wait_until([&] { return run.steps() >= steps + 2; }));
  run.process().signal(SIGTERM);
  CHECK(run.process().wait(std::chrono::seconds(20)) == 130);
  CHECK(guest.wait(std::chrono::seconds(20)) == 0);
  CHECK(contains(guest.out(), "guest has left the run"));

  CHECK(run.count("SELECT count(*) FROM failures") == 0);
  CHECK(run.count("SELECT count(*) FROM groups WHERE attempt > 0") == 0);
  const Words resume = {TRACEWISE_BINARY, "launch", "--resume",
                        run.root(),       "--set",  "run.steps=" + std::to_string(run.steps() + 2)};
  const int resumed = task.run("resumed", resume);
  INFO(task.err());
  CHECK(resumed == 0);
  // Every group that was issued is trained on once: four a step.
  CHECK(run.count("SELECT count(*) FROM groups WHERE state = 'committed'") == 4 * run.steps());
  CHECK(run.count("SELECT count(*) FROM groups WHERE state <> 'committed'") == 0);

  const Finished over = run_tracewise({"nodes", run.root()});
  CHECK(over.exit_code == 2);
  CHECK(contains(over.err, "nobody runs it now"));
}

TEST_CASE("what cannot be joined, asked or drained is told in a sentence") {
  const Task task;
  EndlessRun run(task);
  const Finished nobody = run_tracewise({"drain", run.root(), "nobody"});
  CHECK(nobody.exit_code == 2);
  CHECK(contains(nobody.err, "no node nobody works for the run"));
  const Finished last = run_tracewise({"drain", run.root(), "trace0"});
  CHECK(last.exit_code == 2);
  CHECK(contains(last.err, "node trace0 has the last tracer of the run"));
  const Finished head = run_tracewise({"drain", run.root(), "head"});
  CHECK(contains(head.err, "the head cannot be drained"));
  const Finished name = run_tracewise({"invite", run.root(), "--name", "operator", "--out", "x"});
  CHECK(name.exit_code == 2);
  CHECK(contains(name.err, "no node can be called 'operator'"));

  fs::copy(run.root() / "config.toml", task / "config.toml");
  const Finished stranger = run_tracewise({"nodes", task / ""});
  CHECK(stranger.exit_code == 2);
  CHECK(contains(stranger.err, "the run's secrets are not at hand"));

  const fs::path token = task / "open-token";
  REQUIRE(write_file(token, run_tracewise({"invite", run.root()}).out).ok());
  const Finished open = run_tracewise({"join", "--token", token});
  CHECK(open.exit_code == 2);
  CHECK(contains(open.err, "open-token"));
  CHECK(contains(run_tracewise({"join", "--token", "-"}, "no token").err, "the token is none"));
  CHECK(contains(run_tracewise({"join", "host", "--token", "-"}, slurp(token)).err,
                 "'host' is no address of a head"));
}
