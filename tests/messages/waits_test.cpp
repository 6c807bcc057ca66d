#include "messages/waits.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <optional>
#include <thread>

namespace tracewise {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Clock = std::chrono::steady_clock;

std::optional<ThreadStatus> find_thread(const std::string& name) {
  for (ThreadStatus& thread : thread_status(Clock::now()))
    if (thread.name == name) return std::move(thread);
  return {};
}

}  // namespace

TEST_CASE("an actor's wait has an age and a time left, and ends by its name") {
  Waits waits;
  const Waits::TimePoint start{};
  waits.begin("weights version 5", "learner", start + seconds(1), start + seconds(11));
  waits.begin("a step", "learner", start + seconds(2), start + seconds(3));
  CHECK(waits.status(start + seconds(4)) ==
        std::vector<WaitStatus>{{"learner", "a step", 2, -1},
                                {"learner", "weights version 5", 3, 7}});
  waits.begin("a step", "rank 1", start + seconds(4), start + seconds(9));
  waits.end("weights version 5");
  CHECK(waits.status(start + seconds(4)) == std::vector<WaitStatus>{{"rank 1", "a step", 0, 5}});
}

TEST_CASE("a thread's wait is seen from outside for as long as it lasts") {
  Condition changed;
  std::mutex mutex;
  bool done = false;
  std::thread thread([&] {
    const NamedThread named("a fetcher");
    std::unique_lock lock(mutex);
    CHECK(Wait("weights version 5", "node gen0", Clock::now() + seconds(60)).on(changed, lock, [&] {
      return done;
    }));
    lock.unlock();
    while (find_thread("a fetcher")->waits.empty() == false) std::this_thread::yield();
  });
  std::optional<ThreadStatus> seen;
  while (!seen || seen->waits.empty()) seen = find_thread("a fetcher");
  CHECK(seen->waits.front().who == "node gen0");
  CHECK(seen->waits.front().what == "weights version 5");
  CHECK(seen->waits.front().left_seconds > 50);
  {
    const std::lock_guard lock(mutex);
    done = true;
  }
  changed.notify_all();
  thread.join();
  CHECK_FALSE(find_thread("a fetcher"));
}

TEST_CASE("a thread without work is idle, one without a name is seen while it waits") {
  Condition changed;
  std::mutex mutex;
  bool done = false;
  std::thread idle([&] {
    const NamedThread named("an idle one");
    std::unique_lock lock(mutex);
    Wait("work").on(changed, lock, [&] { return done; });
  });
  const auto waits_for = [](const std::string& who) {
    return std::ranges::any_of(thread_status(Clock::now()), [&](const ThreadStatus& thread) {
      return thread.waits.size() == 1 && thread.waits.front().who == who;
    });
  };
  {
    const Wait wait("an answer", "node gen1", Clock::now() + seconds(1));
    CHECK(waits_for("node gen1"));
  }
  CHECK_FALSE(waits_for("node gen1"));
  while (find_thread("an idle one")) std::this_thread::yield();
  {
    const std::lock_guard lock(mutex);
    done = true;
  }
  changed.notify_all();
  idle.join();
}

TEST_CASE("in an actor's scope a thread's waits are the actor's") {
  const auto waits = std::make_shared<Waits>();
  {
    const WaitsScope scope(waits);
    const Wait wait("its reply", "the Python process", Clock::now() + seconds(3));
    REQUIRE(waits->status(Clock::now()).size() == 1);
    CHECK(waits->status(Clock::now()).front().who == "the Python process");
  }
  CHECK(waits->status(Clock::now()).empty());
  const Wait own("another", "somebody", Clock::now() + seconds(3));
  CHECK(waits->status(Clock::now()).empty());
}

TEST_CASE("a wait ends at its deadline") {
  Condition changed;
  std::mutex mutex;
  std::unique_lock lock(mutex);
  const auto begin = Clock::now();
  CHECK_FALSE(Wait("what never comes", "nobody", begin + milliseconds(20)).on(changed, lock, [] {
    return false;
  }));
  CHECK(Clock::now() - begin >= milliseconds(20));
  pollfd none{-1, POLLIN, 0};
  CHECK(Wait("what never comes", "nobody", Clock::now() + milliseconds(5)).poll({&none, 1}) == 0);
  CHECK(Wait("what never comes", "nobody", begin).poll({&none, 1}) == 0);
}

}  // namespace tracewise
