// Real children of /bin/sh.
#include "launch/process_group.hpp"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <thread>

#include "tests/process_tree.hpp"
#include "tests/temp_dir.hpp"

namespace tracewise {
namespace {

using Kind = ChildEvent::Kind;
using SteadyClock = std::chrono::steady_clock;

TimePoint in(std::chrono::milliseconds limit) { return SteadyClock::now() + limit; }

std::vector<std::string> shell(const std::string& script) { return {"/bin/sh", "-c", script}; }

std::unique_ptr<ProcessGroup> make_group() {
  auto group = ProcessGroup::create();
  REQUIRE(group.ok());
  return std::move(*group);
}

void start(ProcessGroup& group, const std::string& name, const std::string& script) {
  const auto started = group.start(name, shell(script));
  INFO((started.ok() ? std::string() : started.error().message));
  REQUIRE(started.ok());
}

// What happens until `count` events are here, or 10 s are over.
std::vector<ChildEvent> events(ProcessGroup& group, size_t count) {
  std::vector<ChildEvent> all;
  const TimePoint deadline = in(std::chrono::seconds(10));
  while (all.size() < count && SteadyClock::now() < deadline) {
    for (ChildEvent& event : group.wait(deadline)) all.push_back(std::move(event));
  }
  return all;
}

std::vector<ChildEvent> until_all_gone(ProcessGroup& group) {
  std::vector<ChildEvent> all;
  const TimePoint deadline = in(std::chrono::seconds(10));
  while (!group.empty() && SteadyClock::now() < deadline) {
    for (ChildEvent& event : group.wait(deadline)) all.push_back(std::move(event));
  }
  return all;
}

bool eventually(const std::function<bool()>& condition) {
  for (int i = 0; i < 1000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return false;
}

TEST_CASE("a child's lines come before its end, its last one without a line feed too") {
  const auto group = make_group();
  start(*group, "a", "echo one; echo two >&2; printf three; exit 7");
  const auto seen = until_all_gone(*group);
  REQUIRE(seen.size() == 4);
  std::vector<std::string> out, err;
  for (const ChildEvent& event : seen) {
    CHECK(event.child == "a");
    if (event.kind == Kind::kOut) out.push_back(event.line);
    if (event.kind == Kind::kErr) err.push_back(event.line);
  }
  CHECK(out == std::vector<std::string>{"one", "three"});
  CHECK(err == std::vector<std::string>{"two"});
  CHECK(seen.back().kind == Kind::kExit);
  CHECK(seen.back().exit_code == 7);
  CHECK(descendants(::getpid()).empty());
}

TEST_CASE("a line of any length arrives, in pieces of 64 KiB") {
  const auto group = make_group();
  start(*group, "a", "head -c 200000 /dev/zero | tr '\\0' x; echo");
  size_t bytes = 0, longest = 0;
  for (const ChildEvent& event : until_all_gone(*group)) {
    bytes += event.line.size();
    longest = std::max(longest, event.line.size());
  }
  CHECK(bytes == 200000);
  CHECK(longest == 65536);
}

TEST_CASE("what is written arrives whole, however slowly it is read") {
  const auto group = make_group();
  start(*group, "a", "sleep 0.1; wc -c");
  group->write("a", std::string(300000, 'x'));  // more than a pipe holds
  group->close_input("a");
  const auto seen = until_all_gone(*group);
  REQUIRE(seen.size() == 2);
  CHECK(std::stoi(seen[0].line) == 300000);
  group->write("a", "to nobody");
}

TEST_CASE("a child that reads nothing does not end its parent by a broken pipe") {
  const auto group = make_group();
  start(*group, "a", "exec <&-; echo closed; sleep 5");
  REQUIRE(events(*group, 1).size() == 1);
  group->write("a", "nobody reads this");
  CHECK(group->runs("a"));
}

TEST_CASE("a program that isn't there is an error that names it, and nothing is left") {
  const auto group = make_group();
  const auto started = group->start("a", {"/nowhere/program"});
  REQUIRE_FALSE(started.ok());
  CHECK(started.error().message == "/nowhere/program cannot be started: No such file or directory");
  CHECK(group->empty());
  CHECK(descendants(::getpid()).empty());
}

TEST_CASE("a child starts with no signal blocked or ignored") {
  sigset_t blocked, before;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGTERM);
  ::sigprocmask(SIG_BLOCK, &blocked, &before);
  const auto group = make_group();
  start(*group, "a", "kill -TERM $$; echo still here");
  start(*group, "b", "kill -PIPE $$; echo still here");
  std::map<std::string, int> codes;
  for (const ChildEvent& event : until_all_gone(*group)) {
    CHECK(event.kind == Kind::kExit);
    codes[event.child] = event.exit_code;
  }
  ::sigprocmask(SIG_SETMASK, &before, nullptr);
  CHECK(codes == std::map<std::string, int>{{"a", 128 + SIGTERM}, {"b", 128 + SIGPIPE}});
}

TEST_CASE(
    "grandchildren that ignore SIGTERM end with their parent, in its group or escaped from it") {
  const auto group = make_group();
  start(*group, "a",
        "trap '' TERM; sleep 100 & setsid sh -c 'sleep 100 & exec sleep 100' & echo ready; read x");
  REQUIRE(events(*group, 1).at(0).line == "ready");
  std::vector<ProcessMark> all;
  REQUIRE(eventually([&] {
    all = descendants(::getpid());
    return all.size() == 4;
  }));

  SECTION("when the child ends by itself") {
    group->close_input("a");
    const auto seen = until_all_gone(*group);
    REQUIRE(seen.size() == 1);
    CHECK(seen[0].kind == Kind::kExit);
  }
  SECTION("when all are ended") {
    const auto begun = SteadyClock::now();
    CHECK(group->end_all(std::chrono::milliseconds(100)).ok());
    CHECK(SteadyClock::now() - begun < std::chrono::seconds(2));
  }
  SECTION("when the child is killed") {
    group->signal("a", SIGKILL);
    CHECK(until_all_gone(*group).back().exit_code == 128 + SIGKILL);
  }
  CHECK(count_alive(all) == 0);
  CHECK(descendants(::getpid()).empty());
}

TEST_CASE("a stopped child is ended too, and one that ends in time is not killed") {
  const TempDir dir;
  const auto group = make_group();
  start(*group, "stopped", "kill -STOP $$; sleep 100");
  start(*group, "careful",
        "trap 'echo saved >" + (dir / "saved").string() +
            "; exit 0' TERM; echo ready; "
            "while :; do sleep 0.01; done");
  REQUIRE(events(*group, 1).size() == 1);
  CHECK(group->end_all(std::chrono::seconds(5)).ok());
  CHECK(slurp(dir / "saved") == "saved\n");
  CHECK(descendants(::getpid()).empty());
}

TEST_CASE("children hear of it when their parent is killed") {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const pid_t helper = ::fork();
  if (helper == 0) {
    auto group = ProcessGroup::create();
    // One by the signal that it gets, one by the end of its input.
    if (!group.ok() || !(*group)->start("signalled", shell("exec sleep 100")).ok() ||
        !(*group)->start("reader", shell("trap '' TERM; read x; exit 0")).ok()) {
      ::_exit(1);
    }
    (void)!::write(ends[1], "!", 1);
    for (;;) ::pause();
  }
  char ready = 0;
  REQUIRE(::read(ends[0], &ready, 1) == 1);
  const auto children = descendants(helper);
  CHECK(children.size() == 2);
  ::kill(helper, SIGKILL);
  REQUIRE(::waitpid(helper, nullptr, 0) == helper);
  CHECK(eventually([&] { return count_alive(children) == 0; }));
  // This process may have adopted them: what an earlier test made of it stays.
  while (::waitpid(-1, nullptr, 0) > 0) {
  }
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST_CASE("a wait ends at its deadline or when the other descriptor is readable") {
  const auto group = make_group();
  start(*group, "a", "read x");
  CHECK(group->wait(in(std::chrono::milliseconds(20))).empty());
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  REQUIRE(::write(ends[1], "!", 1) == 1);
  const auto begun = SteadyClock::now();
  CHECK(group->wait(in(std::chrono::seconds(10)), ends[0]).empty());
  CHECK(SteadyClock::now() - begun < std::chrono::seconds(5));
  ::close(ends[0]);
  ::close(ends[1]);
}

}  // namespace
}  // namespace tracewise
