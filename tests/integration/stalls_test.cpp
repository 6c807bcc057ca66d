// Every kind of stall, staged with the real binary: the shell names its cause, and says what
// docs/debugging.md says that it does.
#include <sys/ptrace.h>
#include <sys/wait.h>

#include <catch2/catch.hpp>
#include <regex>
#include <sstream>

#include "tests/integration/endless_run.hpp"
#include "tests/process_tree.hpp"

using namespace tracewise;

namespace {

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// Times, versions and the number of a thread are others each time.
std::string masked(const std::string& text) {
  return std::regex_replace(text, std::regex(R"(\d+(\.\d+)?)"), "N");
}

// What the docs show that `command` says, behind the heading.
std::string documented(const std::string& heading, const std::string& command) {
  std::istringstream docs(slurp(std::filesystem::path(TRACEWISE_DOCS) / "debugging.md"));
  std::string line, text;
  bool here = false, shown = false;
  while (std::getline(docs, line)) {
    if (line.starts_with("#")) here = line == "### " + heading;
    if (!here) continue;
    if (line == "    $ ./tracewise shell runs/a -c " + command)
      shown = true;
    else if (shown && line.starts_with("    "))
      text += line.substr(4) + "\n";
    else
      shown = false;
  }
  INFO("docs/debugging.md has nothing of " << command << " under " << heading);
  REQUIRE_FALSE(text.empty());
  return masked(text);
}

// Who had the group at the moment of the stall may take a moment to show.
void check_shell(const std::filesystem::path& run, const std::string& heading,
                 const std::string& command) {
  const std::string wanted = documented(heading, "'" + command + "'");
  std::string said;
  const bool same = wait_until([&] {
    said = run_tracewise({"shell", run, "-c", command}).out;
    return masked(said) == wanted;
  });
  INFO("wanted:\n" << wanted << "said:\n" << said);
  CHECK(same);
}

// A process that stands still while this lives.
class Stopped {
 public:
  explicit Stopped(pid_t pid) : pid_(pid) { REQUIRE(::kill(pid, SIGSTOP) == 0); }
  ~Stopped() { ::kill(pid_, SIGCONT); }

 private:
  pid_t pid_;
};

// One thread of a process that stands still while this lives, all others go on.
class FrozenThreads {
 public:
  FrozenThreads(pid_t pid, const std::string& name) {
    namespace fs = std::filesystem;
    for (const auto& task : fs::directory_iterator("/proc/" + std::to_string(pid) + "/task")) {
      if (slurp(task.path() / "comm") != name + "\n") continue;
      const pid_t thread = std::stoi(task.path().filename());
      REQUIRE(::ptrace(PTRACE_SEIZE, thread, nullptr, nullptr) == 0);
      threads_.push_back(thread);
      REQUIRE(::ptrace(PTRACE_INTERRUPT, thread, nullptr, nullptr) == 0);
      REQUIRE(::waitpid(thread, nullptr, __WALL) == thread);
    }
    REQUIRE_FALSE(threads_.empty());
  }
  ~FrozenThreads() {
    for (const pid_t thread : threads_) ::ptrace(PTRACE_DETACH, thread, nullptr, nullptr);
  }

 private:
  std::vector<pid_t> threads_;
};

}  // namespace

TEST_CASE("a verifier that hangs is named, down to the process that owes the reply") {
  const Task task;
  Process process(hanging_verifier(task), task / "train");
  check_shell(task / "run", "A verifier hangs", "why");
}

TEST_CASE("a generator that stands still is named, and so is the tracer that the learner misses") {
  const Task task;
  EndlessRun run(task);
  const std::vector<ProcessMark> processes = descendants(run.process().pid());
  REQUIRE(processes.size() == 3);
  {
    const Stopped gen0(processes[0].pid);  // the first that the launcher starts
    check_shell(run.root(), "A generator's process stands still", "why");
  }
  const long steps = run.steps();
  REQUIRE(wait_until([&] { return run.steps() > steps; }));
  {
    const Stopped trace0(processes[1].pid);
    check_shell(run.root(), "The learner gets no groups", "why learner");
  }
}

TEST_CASE("weights that do not come are named, and who owes them") {
  const Task task;
  EndlessRun run(task, {"cluster.weights=\"tcp\""});
  const std::vector<ProcessMark> processes = descendants(run.process().pid());
  REQUIRE(processes.size() == 3);
  const FrozenThreads server(processes[2].pid, "weights server");
  check_shell(run.root(), "A transfer of weights stalls", "why");
}

TEST_CASE(
    "an overdue wait is told of within a second of its deadline, by another than its waiter") {
  const Task task;
  EndlessRun run(task, {"deadlines.group_ms=3000"});
  const std::vector<ProcessMark> processes = descendants(run.process().pid());
  REQUIRE(processes.size() == 3);
  const FrozenThreads coordinator(processes[2].pid, "coordinator");
  std::smatch overdue;
  std::string events;
  const std::regex told(R"("kind":"stall","who":"monitor","text":"overdue: coordinator \(head\) )"
                        R"(waits for [^;]*; for [0-9.]+ s, overdue by ([0-9.]+) s)");
  const bool found = wait_until([&] {
    events = slurp(run.root() / "events.jsonl");
    return std::regex_search(events, overdue, told);
  });
  INFO(events);
  REQUIRE(found);
  CHECK(std::stod(overdue[1]) <= 1.0);
  CHECK(wait_until([&] {
    return contains(run.process().out() + run.process().err(),
                    "overdue: coordinator (head) waits for");
  }));
}

TEST_CASE("a full disk ends the run, and its folder says so") {
  const Task task;
  const auto disk = task / "disk";
  std::filesystem::create_directories(disk);
  if (::system("unshare -m true 2>/dev/null") != 0) {
    WARN("skipped: no file system can be mounted here");
    return;
  }
  std::string train;
  for (const std::string& word : task.train("disk/run", {"run.steps=100000"}))
    train += "'" + word + "' ";
  const std::string script =
      "mount -t tmpfs -o size=12m tmpfs '" + disk.string() + "' || exit 9; " + train +
      "; echo \"exit $?\"; '" TRACEWISE_BINARY "' shell '" + (disk / "run").string() + "' -c why";
  Process process({"/usr/bin/unshare", "-m", "/bin/sh", "-c", script}, task / "full");
  CHECK(process.wait(std::chrono::seconds(120)) == 0);
  INFO(process.out() << process.err());
  CHECK(contains(process.out(), "exit 2\n"));
  const size_t said = process.out().find("nobody runs it now");
  REQUIRE(said != std::string::npos);
  const std::string words = process.out().substr(said);
  CHECK(contains(words, "the run ends: "));
  CHECK(contains(words, "No space left on device"));
}
