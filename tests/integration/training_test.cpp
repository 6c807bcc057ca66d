// Training runs of the real binary on a small made-up task: equal weights whatever happens on the
// way, clean stops, and one clear error for what is wrong with the input.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <fstream>
#include <nlohmann/json.hpp>

#include "actors/ledger.hpp"
#include "actors/run_folder.hpp"
#include "model/file_io.hpp"
#include "tests/integration/small_task.hpp"

using namespace tracewise;
namespace fs = std::filesystem;
using nlohmann::json;

TEST_CASE("equal seeds give equal weights, whatever the number of actors, kills and resumes") {
  const Task task;
  // A falling rate depends on run.steps, which the killed run is given anew.
  const auto train = [&task](const std::string& name, Words sets = {}) {
    sets.push_back("optimizer.schedule=constant");
    return task.train(name, sets);
  };
  REQUIRE(task.run("straight", train("straight")) == 0);
  const std::string expected = task.weights("straight");

  SECTION("with more of every actor") {
    REQUIRE(task.run("many",
                     train("many", {"run.generators=3", "run.tracers=3", "run.builders=2"})) == 0);
    CHECK(task.weights("many") == expected);
  }
  SECTION("killed after three steps and resumed") {
    const fs::path checkpoints = task / "killed/checkpoints";
    // Without an end of its own, so that nothing but the kill ends it.
    Process process(train("killed", {"run.steps=100000", "checkpoint.keep_last=100000"}),
                    task / "killed-first");
    REQUIRE(wait_until([&] { return fs::exists(checkpoints / "step-3/state.json"); }));
    process.signal(SIGKILL);
    REQUIRE(process.wait() == 128 + SIGKILL);
    // However far it came meanwhile, the resumed run goes on from step 3.
    for (int step = 4; fs::exists(checkpoints / ("step-" + std::to_string(step))); ++step) {
      fs::remove_all(checkpoints / ("step-" + std::to_string(step)));
    }
    REQUIRE(task.run("resume", {TRACEWISE_BINARY, "train", "--resume", task / "killed", "--set",
                                "run.steps=6"}) == 0);
    CHECK(task.weights("killed") == expected);
  }
  SECTION("with reward terms that weigh nothing, and not with some that weigh") {
    const auto has_shaping = [&task](const std::string& name) {
      const auto metrics = read_file(task / (name + "/metrics.jsonl"), 1 << 24);
      REQUIRE(metrics.ok());
      return metrics->find("train/shaping") != std::string::npos;
    };
    const std::string terms = "reward.terms=[{kind=\"repetition\",ngram=1,weight=";
    REQUIRE(task.run("weightless", train("weightless", {terms + "0.0}]"})) == 0);
    CHECK(task.weights("weightless") == expected);
    CHECK_FALSE(has_shaping("weightless"));
    REQUIRE(task.run("shaped", train("shaped", {terms + "0.5}]"})) == 0);
    CHECK(task.weights("shaped") != expected);
    CHECK(has_shaping("shaped"));
  }
  SECTION("another seed gives other weights") {
    REQUIRE(task.run("other", train("other", {"run.seed=2"})) == 0);
    CHECK(task.weights("other") != expected);
  }
}

TEST_CASE("groups without a signal are replaced, and all groups are in the ledger once") {
  const Task task;
  const auto train = [&task](const std::string& name, Words sets = {}) {
    // Some of the model's random responses have a 7 and some don't.
    sets.insert(sets.end(),
                {"advantage.kind=outcome", "probe.mode=none", "advantage.uniform_groups=drop",
                 "verifier.kind=format", "verifier.pattern=7", "run.group_size=2",
                 "run.max_refilled_groups=60", "optimizer.schedule=constant"});
    return task.train(name, sets);
  };
  REQUIRE(task.run("one", train("one")) == 0);
  REQUIRE(task.run("many", train("many", {"run.generators=3", "run.tracers=2"})) == 0);
  CHECK(task.weights("many") == task.weights("one"));
  REQUIRE(task.run("ahead", train("ahead", {"run.generators=2", "run.max_staleness=2"})) == 0);
  CHECK(task.weights("ahead").size() == task.weights("one").size());

  uint64_t refilled = 0, steps = 0;
  std::ifstream lines(task / "one/metrics.jsonl");
  for (std::string line; std::getline(lines, line); ++steps) {
    const json metrics = json::parse(line);
    const uint64_t with_signal = metrics.at("train/groups_with_signal");
    const uint64_t more = metrics.at("train/groups_refilled");
    CHECK(metrics.at("train/groups_dropped") == more);
    CHECK(with_signal == 4);
    refilled += more;
  }
  CHECK(steps == 6);
  CHECK(refilled > 0);
  auto db = Database::open(task / "one/run.db", Database::Mode::kReadWrite).value();
  const auto ledger = Ledger::open(db.get()).value();
  CHECK(ledger->issued() == 6 * 4 + refilled);
  CHECK(ledger->count(GroupState::kCommitted) == ledger->issued());
}

TEST_CASE("a signal stops a run within 10 s, with a checkpoint to go on from") {
  const Task task;
  for (const int signal : {SIGINT, SIGTERM}) {
    const std::string name = "stopped-" + std::to_string(signal);
    Process process(task.train(name, {"run.steps=100000", "checkpoint.every_steps=0"}),
                    task / name);
    REQUIRE(wait_until([&] {
      const auto metrics = read_file(task / (name + "/metrics.jsonl"), 1 << 24);
      return metrics.ok() && std::count(metrics->begin(), metrics->end(), '\n') >= 2;
    }));
    process.signal(signal);
    CHECK(process.wait(std::chrono::seconds(10)) == 130);
    const fs::path checkpoints = task / (name + "/checkpoints");
    REQUIRE(fs::exists(checkpoints));
    CHECK_FALSE(fs::is_empty(checkpoints));
  }
}

TEST_CASE("a second signal ends a run that cannot stop at once") {
  const Task task;
  REQUIRE(task.run("first", task.train("stuck", {"run.steps=1"})) == 0);
  // The lines of the resumption and of the ways of two generators' weights, 256 bytes, fit into a
  // pipe that nobody reads; the coordinator's of the stop, 63 more, doesn't.
  const fs::path log = task / "stuck/logs/node.log";
  fs::remove(log);
  REQUIRE(::mkfifo(log.c_str(), 0600) == 0);
  const int pipe = ::open(log.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC);
  REQUIRE(pipe >= 0);
  while (::write(pipe, "x", 1) == 1) {
  }
  std::vector<char> page(4096);
  REQUIRE(::read(pipe, page.data(), page.size()) == 4096);
  REQUIRE(::write(pipe, page.data(), page.size() - 290) == 4096 - 290);
  Process process({TRACEWISE_BINARY, "train", "--resume", task / "stuck", "--set",
                   "run.steps=100000", "--set", "checkpoint.every_steps=0"},
                  task / "second");
  REQUIRE(wait_until([&] {
    const std::string metrics = slurp(task / "stuck/metrics.jsonl");
    return std::count(metrics.begin(), metrics.end(), '\n') >= 3;
  }));
  process.signal(SIGINT);
  REQUIRE(wait_until([&] { return process.err().find("once more") != std::string::npos; }));
  CHECK(process.wait(std::chrono::seconds(1)) == -1);
  process.signal(SIGINT);
  CHECK(process.wait(std::chrono::seconds(2)) == 130);
  ::close(pipe);
  CHECK(RunFolder::open(task / "stuck").ok());  // nobody is left to hold its lock
}

TEST_CASE("a run folder in use is refused and its owner named") {
  const Task task;
  Process owner(task.train("used", {"run.steps=100000"}), task / "owner");
  REQUIRE(wait_until([&] { return fs::exists(task / "used/metrics.jsonl"); }));
  CHECK(task.run("second", {TRACEWISE_BINARY, "train", "--resume", task / "used"}) == 2);
  CHECK(task.err().find(std::to_string(owner.pid())) != std::string::npos);
}

TEST_CASE("bad input is one sentence, exit code 2 and no run folder") {
  const Task task;
  const auto write = [&](const std::string& name, const std::string& text) {
    const fs::path file = task / name;
    REQUIRE(write_file(file, text).ok());
    return file.string();
  };
  struct Case {
    std::string name, set, said;
  };
  fs::copy(task.files().model, task / "cut");
  fs::resize_file(task / "cut/model.safetensors", 5000);
  fs::copy(task.files().model, task / "odd");
  auto config = read_file(task / "odd/config.json", 1 << 20);
  REQUIRE(config.ok());
  config->replace(config->find("\"silu\""), 6, "\"gelu\"");
  write("odd/config.json", *config);
  std::string digits;
  for (int i = 0; i < 300; ++i) digits += "7";
  const std::vector<Case> cases = {
      {"no prompts", "data.prompts=" + write("empty.jsonl", ""), "empty.jsonl"},
      {"broken line",
       "data.prompts=" + write("broken.jsonl", "{\"prompt\":\"1=\\n\",\"answer\":\"1\"}\n{oops\n"),
       "broken.jsonl:2"},
      {"long prompt",
       "data.prompts=" + write("long.jsonl", "{\"prompt\":\"" + digits + "\",\"answer\":\"1\"}\n"),
       "long.jsonl:1"},
      {"missing model", "model.dir=" + (task / "nowhere").string(), "nowhere"},
      {"cut weights", "model.dir=" + (task / "cut").string(), "model.safetensors"},
      {"unsupported activation", "model.dir=" + (task / "odd").string(), "gelu"},
      {"unknown key", "advantage.bta=3", "advantage.beta"},
      {"wrong range", "advantage.lambda=2", "advantage.lambda"},
      {"probe missing", "probe.mode=none", "probe.mode"},
  };
  for (const Case& c : cases) {
    INFO(c.name);
    CHECK(task.run("bad", task.train("bad", {c.set})) == 2);
    INFO(task.err());
    CHECK(task.err().find(c.said) != std::string::npos);
    CHECK(std::count(task.err().begin(), task.err().end(), '\n') == 1);
    CHECK_FALSE(fs::exists(task / "bad/config.toml"));
  }
}

TEST_CASE("a resume refuses keys that would make it another run") {
  const Task task;
  REQUIRE(task.run("run", task.train("run", {"run.steps=1"})) == 0);
  CHECK(task.run("again", {TRACEWISE_BINARY, "train", "--resume", task / "run", "--set",
                           "optimizer.lr=1"}) == 2);
  CHECK(task.err().find("optimizer.lr") != std::string::npos);
  CHECK(task.run("longer", {TRACEWISE_BINARY, "train", "--resume", task / "run", "--set",
                            "run.steps=2"}) == 0);
  CHECK(fs::exists(task / "run/checkpoints/step-2"));
}
