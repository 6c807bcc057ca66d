// tracewise shell against a run of the real binary over several processes.
#include <poll.h>
#include <pty.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>
#include <set>

#include "tests/integration/endless_run.hpp"
#include "tests/process_tree.hpp"

using namespace tracewise;
using nlohmann::json;

namespace {

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

json asked(const EndlessRun& run, const std::string& line) {
  const Finished finished = run_tracewise({"shell", run.root(), "--json", "-c", line});
  INFO(finished.err);
  REQUIRE(finished.exit_code == 0);
  return json::parse(finished.out);
}

// Whether a paused run has ended what was under way.
bool rests(const json& all) {
  for (const json& node : all["nodes"]) {
    for (const json& seat : node["seats"])
      if (seat["in_flight"] != 0) return false;
    for (const json& actor : node["actors"]) {
      const std::string state = actor["state"];
      if (actor["name"] == "learner" && state != "idle") return false;
      if (actor["name"] == "coordinator" && state != "paused") return false;
    }
  }
  return true;
}

// A program on a terminal of its own, of which all that it shows is kept.
class OnTerminal {
 public:
  explicit OnTerminal(const Words& words) {
    winsize size{24, 80, 0, 0};
    pid_ = ::forkpty(&terminal_, nullptr, nullptr, &size);
    if (pid_ != 0) return;
    ::setenv("TERM", "xterm", 1);
    std::vector<char*> argv;
    for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(nullptr);
    ::execv(argv[0], argv.data());
    ::_exit(127);
  }
  ~OnTerminal() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
    ::close(terminal_);
  }

  void type(const std::string& keys) { REQUIRE(::write(terminal_, keys.data(), keys.size()) > 0); }

  // What is shown up to `part`, from where the last call ended.
  std::string until(const std::string& part) {
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (!contains(shown_, part)) {
      INFO("wanted '" << part << "', there was: " << shown_);
      REQUIRE(std::chrono::steady_clock::now() < limit);
      pollfd ready{terminal_, POLLIN, 0};
      if (::poll(&ready, 1, 100) == 0) continue;
      char bytes[4096];
      const ssize_t got = ::read(terminal_, bytes, sizeof bytes);
      REQUIRE(got > 0);
      shown_.append(bytes, static_cast<size_t>(got));
    }
    const size_t end = shown_.find(part) + part.size();
    const std::string text = shown_.substr(0, end);
    shown_.erase(0, end);
    return text;
  }

  // -1: it does not end.
  int wait() {
    int status = 0;
    const bool gone = wait_until([&] { return ::waitpid(pid_, &status, WNOHANG) == pid_; });
    if (!gone) return -1;
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

 private:
  int terminal_ = -1;
  pid_t pid_ = -1;
  std::string shown_;  // and not asked for yet
};

}  // namespace

TEST_CASE(
    "the shell shows the actors of all nodes, and why a run stands still that has a stopped "
    "generator") {
  const Task task;
  EndlessRun run(task);
  const json all = asked(run, "ps");
  std::set<std::string> names;
  for (const json& node : all["nodes"]) {
    for (const json& actor : node["actors"])
      names.insert(node["node"].get<std::string>() + "/" + actor["name"].get<std::string>());
  }
  for (const char* name :
       {"head/coordinator", "head/learner", "head/supervisor", "gen0/generator 0", "gen0/agent",
        "trace0/tracer 0", "trace0/inspector", "head/builder 0"}) {
    INFO(name << " of " << all.dump());
    CHECK(names.contains(name));
  }
  CHECK(asked(run, "waits")["waits"].is_array());

  const std::vector<ProcessMark> processes = descendants(run.process().pid());
  REQUIRE(processes.size() == 3);
  const pid_t gen0 = processes[0].pid;  // the first that the launcher starts
  REQUIRE(::kill(gen0, SIGSTOP) == 0);
  std::string said;
  const bool named = wait_until([&] {
    said = run_tracewise({"shell", run.root(), "-c", "why"}).out;
    return contains(said, "generator 0 is on node gen0") &&
           contains(said, "could not be asked: it did not answer within 2 s");
  });
  ::kill(gen0, SIGCONT);
  INFO(said);
  CHECK(named);
  CHECK(said.starts_with("coordinator (head) waits for "));  // whoever had the groups then
}

TEST_CASE("a run in one process is looked into, stopped and resumed, and its folder is left") {
  const Task task;
  const auto root = task / "run";
  Process process(hanging_verifier(task), task / "train");
  std::string said;
  const bool named = wait_until([&] {
    said = run_tracewise({"shell", root, "-c", "why"}).out;
    return contains(said, "tracer 0 (head) waits for verifier of tracer 0: verdicts");
  });
  INFO(said << process.err());
  REQUIRE(named);
  CHECK(said.starts_with("coordinator (head) waits for tracer 0: groups of tracer 0"));
  CHECK(contains(said, "the Python process is no actor of the run"));

  const Finished unsure = run_tracewise({"shell", root, "-c", "stop"});
  CHECK(unsure.exit_code == 2);
  CHECK(contains(unsure.err, "stop asks first, and there is no terminal: say --yes"));
  const Finished stopped = run_tracewise({"shell", root, "--yes", "-c", "stop"});
  INFO(stopped.err);
  CHECK(stopped.exit_code == 0);
  CHECK(process.wait(std::chrono::seconds(60)) == 130);
  CHECK(contains(slurp(root / "logs/node.log"), "the operator asked the run to stop"));

  const Finished over = run_tracewise({"shell", root, "-c", "ps"});
  CHECK(over.exit_code == 2);
  CHECK(contains(over.err, "nobody runs it now"));
  const Finished ledger = run_tracewise({"shell", root, "-c", "ledger"});
  CHECK(ledger.exit_code == 0);
  CHECK(contains(ledger.out, "issued "));
}

TEST_CASE("a run is paused, resumed, saved and ended after a step, and its events say who did it") {
  const Task task;
  EndlessRun run(task, {"checkpoint.every_steps=0"});
  const auto order = [&](const std::string& line) {
    return run_tracewise({"shell", run.root(), "--yes", "-c", line});
  };
  Process follower({TRACEWISE_BINARY, "shell", run.root(), "-c", "log node -f"}, task / "follower");
  CHECK(contains(order("resume").err, "the run is not paused"));
  REQUIRE(order("pause").exit_code == 0);
  long steps = 0;
  REQUIRE(wait_until([&] {
    const long before = std::exchange(steps, run.steps());
    return rests(asked(run, "ps")) && before == steps;
  }));
  CHECK(wait_until([&] { return contains(follower.out(), "pause"); }));
  follower.signal(SIGINT);
  CHECK(follower.wait(std::chrono::seconds(10)) == 0);
  // The learner is idle now, and the last step in no checkpoint.
  CHECK(order("checkpoint").exit_code == 0);
  CHECK(wait_until([&] {
    return std::filesystem::exists(run.root() / "checkpoints" / ("step-" + std::to_string(steps)));
  }));
  CHECK(run.steps() == steps);
  CHECK(contains(order("checkpoint").err, "is in a checkpoint already"));
  CHECK(contains(order("stop --after x").err, "stop takes --after STEP, but there is '--after x'"));
  const std::string last = std::to_string(steps + 3);
  CHECK(order("stop --after " + last).exit_code == 0);
  CHECK(order("resume").exit_code == 0);
  CHECK(run.process().wait(std::chrono::seconds(60)) == 130);
  CHECK(std::filesystem::exists(run.root() / "checkpoints" / ("step-" + last)));
  const std::string events = slurp(run.root() / "events.jsonl");
  for (const char* text : {"pause", "resume", "checkpoint"})
    CHECK(contains(events, std::string(R"("kind":"operator","who":"operator","text":")") + text));
  const auto trace = task / "trace.json";
  const Finished traced =
      run_tracewise({"timeline", run.root(), "--steps", "1.." + last, "--out", trace});
  INFO(traced.err);
  REQUIRE(traced.exit_code == 0);
  std::set<std::string> seen;
  const json events_of_steps = json::parse(slurp(trace))["traceEvents"];
  for (const json& event : events_of_steps)
    seen.insert(event["ph"] == "M" ? event["args"]["name"].get<std::string>()
                                   : event["name"].get<std::string>());
  for (const std::string& name :
       {std::string("head"), std::string("gen0"), std::string("generator 0"),
        std::string("learner"), std::string("training"), "step " + last}) {
    INFO(name);
    CHECK(seen.contains(name));
  }
  const std::string group =
      std::to_string(run.count("SELECT max(group_id) FROM rollouts WHERE purpose = 0"));
  const Finished shown = order("show " + group);
  INFO(shown.err);
  CHECK(shown.exit_code == 0);
  CHECK(contains(shown.out, "group " + group + ", step "));
  CHECK(contains(shown.out, "reward"));
  CHECK(contains(order("show " + group + "/99").err, "was not logged; there are: "));
  CHECK(contains(order("events operator").out, "stop after step " + last));

  const Finished none = run_tracewise({"timeline", run.root(), "--steps", "9000", "--out", trace});
  CHECK(none.exit_code == 2);
  CHECK(contains(none.err, "it has step 1 to " + last));
  CHECK(contains(events, "stop after step " + last));
  CHECK(contains(events, "the run was stopped at step " + last));
}

TEST_CASE("the shell converses on a terminal, reads lines without one, and refuses in a sentence") {
  const Task task;
  EndlessRun run(task);
  const auto state = task / "state";
  ::setenv("XDG_STATE_HOME", state.c_str(), 1);
  {
    OnTerminal shell({TRACEWISE_BINARY, "shell", run.root()});
    shell.until("run> ");
    shell.type("why lea\t\n");  // completed: learner
    shell.until("learner (head) waits");
    shell.until("run> ");
    shell.type("nodse\n");
    shell.until("did you mean nodes?");
    shell.until("run> ");
    shell.type("nodes\n");
    shell.until("trace0");
    shell.until("run> ");
    shell.type("\x04");
    CHECK(shell.wait() == 0);
  }
  CHECK(contains(slurp(state / "tracewise/shell_history"), "nodes"));
  ::unsetenv("XDG_STATE_HOME");

  const auto lines = task / "lines";
  std::ofstream(lines) << "nodes\n\nfrobnicate\nps\n";
  Process piped({TRACEWISE_BINARY, "shell", run.root()}, task / "piped", lines.string());
  CHECK(piped.wait(std::chrono::seconds(30)) == 2);
  CHECK(contains(piped.out(), "trace0"));
  CHECK_FALSE(contains(piped.out(), "mailbox"));  // ends at the first refusal
  CHECK(contains(piped.err(), "there is no command frobnicate"));

  std::ofstream(lines) << std::string(10 << 20, 'x') << "\n";
  Process pasted({TRACEWISE_BINARY, "shell", run.root()}, task / "pasted", lines.string());
  CHECK(pasted.wait(std::chrono::seconds(30)) == 2);
  CHECK(contains(pasted.err(), "a line of 10485760 bytes is no command"));

  const Finished nobody = run_tracewise({"shell", task / "gone", "-c", "ps"});
  CHECK(nobody.exit_code == 2);
  CHECK(contains(nobody.err, "there is no such folder"));
}
