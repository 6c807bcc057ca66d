// A generator whose weights take their time.
#include "actors/generator_actor.hpp"

#include <caf/actor_system.hpp>
#include <caf/scoped_actor.hpp>
#include <catch2/catch.hpp>
#include <chrono>
#include <thread>

#include "actors/node_config.hpp"
#include "tests/actors/fakes.hpp"
#include "tests/temp_dir.hpp"

namespace tracewise {
namespace {

using namespace std::chrono_literals;

// Brings what it is asked for once it is let; ends a wait when it is aborted.
class GatedReceiver final : public WeightsReceiver {
 public:
  Result<FetchedWeights> fetch(const WeightsReady& wanted, TimePoint) override {
    std::unique_lock lock(mutex_);
    fetches_.push_back(wanted.manifest.version);
    changed_.notify_all();
    changed_.wait(lock, [&] { return aborted_ || wanted.manifest.version <= open_until_; });
    if (aborted_ || wanted.manifest.version == replaced_) return aborted_error(wanted.manifest);
    return FetchedWeights{{wanted.manifest, allocate_on_heap(wanted.manifest.bytes)}, "gated"};
  }
  void abort(uint64_t) override {
    const std::lock_guard lock(mutex_);
    aborted_ = true;
    changed_.notify_all();
  }

  // Lets fetches of versions up to `version` end.
  void open(uint64_t version) {
    const std::lock_guard lock(mutex_);
    open_until_ = version;
    changed_.notify_all();
  }
  void replace(uint64_t version) { replaced_ = version; }
  void wait_begun(size_t fetches) {
    std::unique_lock lock(mutex_);
    REQUIRE(changed_.wait_for(lock, 10s, [&] { return fetches_.size() >= fetches; }));
  }
  std::vector<uint64_t> fetches() {
    const std::lock_guard lock(mutex_);
    return fetches_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<uint64_t> fetches_;  // versions, as they began
  uint64_t open_until_ = 0;
  std::atomic<uint64_t> replaced_ = UINT64_MAX;
  bool aborted_ = false;
};

WeightsReady ready(uint64_t version) {
  WeightsReady r;
  r.manifest.version = version;
  r.manifest.bytes = 8;
  return r;
}

// Counts what a fetcher's thread says.
struct Ends {
  void add() {
    const std::lock_guard lock(mutex);
    ++count;
    changed.notify_all();
  }
  void wait(int n) {
    std::unique_lock lock(mutex);
    REQUIRE(changed.wait_for(lock, 10s, [&] { return count >= n; }));
  }
  std::mutex mutex;
  std::condition_variable changed;
  int count = 0;
};

const auto kSoon = std::chrono::steady_clock::now() + 60s;

}  // namespace

TEST_CASE("of the weights that are wanted while others come, the newest alone are fetched") {
  const auto receiver = std::make_shared<GatedReceiver>();
  Ends ends;
  WeightsFetcher fetcher(
      "weights fetcher", receiver, [](const WeightsBuffer&) { return Result<void>(); },
      [&] { ends.add(); });
  CHECK_FALSE(fetcher.take());
  fetcher.want(ready(1), kSoon);
  receiver->wait_begun(1);
  fetcher.want(ready(2), kSoon);
  fetcher.want(ready(3), kSoon);
  receiver->open(1);
  receiver->wait_begun(2);
  const auto first = fetcher.take();
  REQUIRE(first);
  CHECK(first->wanted.version == 1);
  CHECK(first->weights.ok());
  CHECK_FALSE(fetcher.take());
  receiver->open(3);
  ends.wait(2);
  CHECK(fetcher.take()->wanted.version == 3);
  CHECK(receiver->fetches() == std::vector<uint64_t>{1, 3});
}

TEST_CASE("weights that came are not forgotten when the next fetch finds its version replaced") {
  const auto receiver = std::make_shared<GatedReceiver>();
  receiver->open(2);
  receiver->replace(2);
  Ends ends;
  WeightsFetcher fetcher(
      "weights fetcher", receiver, [](const WeightsBuffer&) { return Result<void>(); },
      [&] { ends.add(); });
  fetcher.want(ready(1), kSoon);
  ends.wait(1);
  fetcher.want(ready(2), kSoon);
  ends.wait(2);
  const auto end = fetcher.take();
  REQUIRE(end);
  CHECK(end->wanted.version == 2);  // all announcements up to it can be answered
  REQUIRE(end->weights.ok());
  CHECK(end->weights->buffer.manifest.version == 1);
}

TEST_CASE("a generator decodes on while weights are on their way, and ends in the middle of it") {
  TempDir dir;
  FakeWorld world;
  std::atomic<uint64_t> steps{0};
  world.before_step = [&](uint32_t, uint64_t) { ++steps; };
  const auto services = std::make_shared<NodeServices>();
  services->log = NodeLog::open(dir / "node.log").value();
  const auto receiver = std::make_shared<GatedReceiver>();
  NodeConfig config;
  caf::actor_system system(config);
  {
    caf::scoped_actor self(system);
    const auto generator = system.spawn<GeneratorShell, caf::detached>(
        ShellContext{services, {}, "generator 0", "generator"},
        GeneratorSetup{0, fake_parts(&world, 11).make_engine, receiver, RunOptions{}});
    const auto broken = [](const caf::error&) { FAIL("no answer"); };
    self->request(generator, 10s, start_atom::value)
        .receive([](const Outcome& outcome) { CHECK(outcome.ok); }, broken);
    const auto take = [&](uint64_t version) {
      receiver->open(version);
      self->request(generator, 10s, WeightsAnnouncement::make(ready(version)).value())
          .receive([&](const WeightsDelivered& d) { CHECK(d.version == version); }, broken);
    };
    take(1);
    // The engine finishes a few rollouts a step: enough for hundreds of steps.
    GroupTask task;
    task.issue_version = 1;
    task.samples = 4000;
    task.prompt.tokens = {1, 4};
    self->send(generator, task);
    self->send(generator, WeightsAnnouncement::make(ready(2)).value());
    receiver->wait_begun(2);
    const uint64_t begun = steps;
    for (int i = 0; i < 1000 && steps < begun + 50; ++i) std::this_thread::sleep_for(10ms);
    CHECK(steps >= begun + 50);
    CHECK(receiver->fetches() == std::vector<uint64_t>{1, 2});
    self->send_exit(generator, caf::exit_reason::user_shutdown);
  }
  CHECK(services->gate.wait_empty(std::chrono::steady_clock::now() + 10s));
  CHECK(world.engines_alive == 0);
}

}  // namespace tracewise
