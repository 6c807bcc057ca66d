// Runs with fakes over several real processes: the head in the test's own, nodes beside it.
#include <algorithm>
#include <csignal>
#include <fstream>
#include <future>
#include <memory>
#include <optional>
#include <thread>

#include <caf/actor_cast.hpp>
#include <caf/actor_system.hpp>
#include <caf/scoped_actor.hpp>

#include "actors/gateway.hpp"
#include "actors/node_config.hpp"
#include "actors/wire.hpp"
#include "tests/actors/fake_cluster.hpp"
#include "tests/actors/fake_run.hpp"
#include "tests/process.hpp"
#include "transport/dial.hpp"
#include "transport/requests.hpp"

namespace tracewise {
namespace {

using namespace std::chrono_literals;

// Waits for what other processes bring about; false: not within 20 s.
template <class Condition>
bool eventually(Condition condition) {
  for (int i = 0; i < 4000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(5ms);
  }
  return false;
}

// Steps of a run that a test ends itself.
constexpr uint64_t kEndless = 1'000'000;

// A head with fakes, and its nodes.
class Cluster {
 public:
  explicit Cluster(SeatCounts head_seats = {0, 0, 1})
      : authority_(RunAuthority::create(1).value()) {
    head_.node = fake_node_setup(authority_.issue("head", 1).value());
    head_.config = "fake";
    head_.seats = head_seats;
    head_.on_open = [this](const NodeAddress& address) { opened_.set_value(address.port); };
  }

  ~Cluster() { stop_.request_stop(); }  // of a run that a failed check left

  void expect(const std::string& name) { head_.expected.push_back(name); }

  void begin(const RunOptions& options, bool resume = false) {
    auto folder =
        (resume ? RunFolder::open(run.dir.path()) : RunFolder::create(run.dir.path(), ""));
    end_ = std::async(std::launch::async,
                      [this, options, resume,
                       folder = std::shared_ptr<RunFolder>(std::move(folder).value())]() mutable {
                        return run_training(options, fake_parts(&run.world, kFakeSeed),
                                            std::move(folder), resume, stop_.get_token(), &head_);
                      });
    port_ = opened_.get_future().get();
  }

  Process& start(const std::string& name, SeatCounts seats) {
    const auto identity = dir_ / (name + ".pem");
    if (!std::filesystem::exists(identity))
      REQUIRE(write_identity(identity, authority_.issue(name, 1).value()).ok());
    nodes_.push_back(std::make_unique<Process>(
        std::vector<std::string>{TRACEWISE_FAKE_NODE, identity.string(), std::to_string(port_),
                                 std::to_string(seats.generators), std::to_string(seats.tracers),
                                 std::to_string(seats.builders), (dir_ / (name + ".log")).string()},
        dir_ / (name + std::to_string(nodes_.size()))));
    return *nodes_.back();
  }

  // What an operator is told, or a node called `who`.
  ControlAnswer ask_as(const std::string& who, const ControlRequest& request) {
    const auto deadline = std::chrono::steady_clock::now() + 10s;
    const auto context = TlsContext::create(authority_.issue(who, 1).value()).value();
    Hello hello = head_.node.hello;
    hello.node = who;
    hello.channel = Channel::kShell;
    TW_ASSIGN(const auto stream, dial("127.0.0.1", port_, context, hello, "head", deadline));
    TW_ASSIGN(const std::string answer, ask(*stream, to_text(request), deadline));
    return control_answer(answer);
  }
  ControlAnswer drain(const std::string& node) {
    return ask_as(kOperatorName, {ControlRequest::Kind::kDrain, node, {}});
  }
  NodeStatus status(const std::string& node) {
    const auto nodes = ask_as(kOperatorName, {});
    INFO((nodes.ok() ? "" : nodes.error().message));
    REQUIRE(nodes.ok());
    const auto found = std::ranges::find(*nodes, node, &NodeStatus::node);
    return found == nodes->end() ? NodeStatus{} : *found;
  }

  Identity identity(const std::string& node) { return authority_.issue(node, 1).value(); }
  NodeAddress head() const { return {"head", "127.0.0.1", port_}; }

  void stop() { stop_.request_stop(); }
  Result<RunSummary> end() { return end_.get(); }
  bool running() { return end_.wait_for(0s) != std::future_status::ready; }
  uint64_t trained() {
    const std::lock_guard lock(run.world.mutex);
    return run.world.trained.size();
  }
  std::string log() const {
    return read_file(run.dir.path() / "logs" / "node.log", 1 << 20).value();
  }

  Run run;

 private:
  TempDir dir_;
  RunAuthority authority_;
  HeadSetup head_;
  std::promise<uint16_t> opened_;
  uint16_t port_ = 0;
  std::stop_source stop_;
  std::future<Result<RunSummary>> end_;
  std::vector<std::unique_ptr<Process>> nodes_;
};

#define CHECK_RUN(cluster, options)                                    \
  do {                                                                 \
    const Result<RunSummary> end = (cluster).end();                    \
    INFO((end.ok() ? (cluster).log() : end.error().message));          \
    REQUIRE(end.ok());                                                 \
    CHECK(end->step == (options).steps);                               \
    CHECK((cluster).run.state() == plain_state(options));              \
    CHECK((cluster).run.world.trained ==                               \
          first_groups((options).steps * (options).groups_per_batch)); \
  } while (false)

TEST_CASE("a run over four processes gives the weights of the plain loop") {
  Cluster cluster;
  for (const char* name : {"gen0", "gen1", "tr0"}) cluster.expect(name);
  const RunOptions options = options_of(5);
  cluster.begin(options);
  Process& gen0 = cluster.start("gen0", {1, 0, 0});
  Process& gen1 = cluster.start("gen1", {2, 0, 0});
  Process& tr0 = cluster.start("tr0", {0, 1, 0});
  CHECK_RUN(cluster, options);
  CHECK(gen0.wait(10s) == 0);
  CHECK(gen1.wait(10s) == 0);
  CHECK(tr0.wait(10s) == 0);
}

TEST_CASE("a node that is killed costs its groups another attempt, and may come back") {
  Cluster cluster;
  for (const char* name : {"gen0", "gen1", "tr0", "tr1"}) cluster.expect(name);
  const RunOptions options = options_of(60);
  cluster.begin(options);
  cluster.start("gen0", {1, 0, 0});
  Process& gen1 = cluster.start("gen1", {1, 0, 0});
  Process& tr0 = cluster.start("tr0", {0, 1, 0});
  cluster.start("tr1", {0, 1, 0});
  REQUIRE(eventually([&] { return cluster.trained() >= 20; }));
  gen1.signal(SIGKILL);
  REQUIRE(eventually([&] { return cluster.trained() >= 60; }));
  tr0.signal(SIGKILL);
  REQUIRE(eventually([&] { return cluster.trained() >= 100; }));
  cluster.start("gen1", {1, 0, 0});
  REQUIRE(eventually([&] { return cluster.trained() >= 140; }));
  CHECK_RUN(cluster, options);
  CHECK(contains(cluster.log(), "node gen1 is lost: its connection broke"));
  CHECK(contains(cluster.log(), "node tr0 is lost: its connection broke"));
}

TEST_CASE("a node that is stopped for too long is lost, and joins again by itself") {
  Cluster cluster({1, 0, 1});
  cluster.expect("tr0");
  const RunOptions options = options_of(40);
  cluster.begin(options);
  Process& tr0 = cluster.start("tr0", {0, 1, 0});
  REQUIRE(eventually([&] { return cluster.trained() >= 20; }));
  tr0.signal(SIGSTOP);
  REQUIRE(
      eventually([&] { return contains(cluster.log(), "node tr0 is lost: it was silent for"); }));
  const uint64_t before = cluster.trained();
  tr0.signal(SIGCONT);
  REQUIRE(eventually([&] { return cluster.trained() > before || !cluster.running(); }));
  CHECK_RUN(cluster, options);
  CHECK(tr0.wait(10s) == 0);
  CHECK(contains(tr0.out(), "joined the run\n"));
}

TEST_CASE("a node that is stopped for less than the deadline is not lost") {
  Cluster cluster({1, 0, 1});
  cluster.expect("tr0");
  const RunOptions options = options_of(40);
  cluster.begin(options);
  Process& tr0 = cluster.start("tr0", {0, 1, 0});
  REQUIRE(eventually([&] { return cluster.trained() >= 20; }));
  tr0.signal(SIGSTOP);
  REQUIRE(eventually([&] { return contains(cluster.log(), "node tr0 is suspect"); }));
  tr0.signal(SIGCONT);
  CHECK_RUN(cluster, options);
  CHECK_FALSE(contains(cluster.log(), "lost"));
  CHECK(cluster.run.count("SELECT count(*) FROM failures") == 0);
}

TEST_CASE("a generator on another node that does not take weights costs its node, not the run") {
  Cluster cluster({1, 1, 1});
  cluster.expect("gen0");
  RunOptions options = options_of(60);
  options.max_staleness = 8;            // so that the learner goes on without it for a while
  options.deadlines.weights_ms = 1000;  // before the node counts as silent
  cluster.begin(options);
  Process& gen0 = cluster.start("gen0", {1, 0, 0});
  REQUIRE(eventually([&] { return cluster.trained() >= 20; }));
  gen0.signal(SIGSTOP);
  REQUIRE(eventually([&] { return contains(cluster.log(), "node gen0 is lost: "); }));
  gen0.signal(SIGCONT);
  const Result<RunSummary> end = cluster.end();
  INFO((end.ok() ? cluster.log() : end.error().message));
  REQUIRE(end.ok());
  CHECK(end->step == 60);
  CHECK(cluster.run.world.greatest_staleness <= 8);
  CHECK(contains(cluster.log(), "was not acknowledged within 1000 ms (deadlines.weights_ms)"));
}

TEST_CASE("a node that nobody expected gets work, and one that is drained finishes what it has") {
  Cluster cluster;
  for (const char* name : {"gen0", "tr0"}) cluster.expect(name);
  cluster.begin(options_of(kEndless));
  Process& gen0 = cluster.start("gen0", {1, 0, 0});
  cluster.start("tr0", {0, 1, 0});
  REQUIRE(eventually([&] { return cluster.trained() >= 20; }));
  const auto last = cluster.drain("gen0");
  REQUIRE_FALSE(last.ok());
  CHECK(contains(last.error().message, "node gen0 has the last generator of the run"));

  Process& guest = cluster.start("guest", {2, 1, 0});
  REQUIRE(eventually([&] {
    const NodeStatus status = cluster.status("guest");
    return status.seats.size() == 3 && std::ranges::all_of(status.seats, [](const SeatWork& work) {
             return work.finished > 0;
           });
  }));
  CHECK(cluster.status("guest").state == NodeState::kReady);
  CHECK(cluster.status("head").seats.size() == 1);

  const auto asked = cluster.drain("gen0");
  INFO((asked.ok() ? "" : asked.error().message));
  REQUIRE(asked.ok());
  CHECK(gen0.wait(20s) == 0);
  const NodeStatus left = cluster.status("gen0");
  CHECK(left.state == NodeState::kLeft);
  CHECK(left.reason == "it was drained");
  CHECK(contains(cluster.drain("gen0").error().message, "no node gen0 works for the run"));

  cluster.stop();
  const Result<RunSummary> end = cluster.end();
  INFO((end.ok() ? cluster.log() : end.error().message));
  REQUIRE(end.ok());
  const auto& trained = cluster.run.world.trained;  // one more batch may have been under way
  CHECK(trained.size() >= end->step * 4);
  CHECK(trained == first_groups(trained.size()));
  CHECK(guest.wait(10s) == 0);
  CHECK_FALSE(contains(cluster.log(), "lost"));
  CHECK(cluster.run.count("SELECT count(*) FROM failures") == 0);
  CHECK(cluster.run.count("SELECT count(*) FROM groups WHERE attempt > 0") == 0);
}

TEST_CASE("a draining node that is killed is lost, and the run goes on") {
  Cluster cluster({1, 1, 1});
  cluster.expect("gen0");
  RunOptions options = options_of(kEndless);
  options.max_staleness = 8;
  cluster.begin(options);
  Process& gen0 = cluster.start("gen0", {1, 0, 0});
  REQUIRE(eventually([&] { return cluster.status("gen0").seats.size() == 1; }));
  REQUIRE(eventually([&] { return cluster.trained() >= 8; }));
  gen0.signal(SIGSTOP);  // with what it has, which it can't finish
  REQUIRE(eventually([&] { return cluster.status("gen0").seats[0].in_flight > 0; }));
  REQUIRE(cluster.drain("gen0").ok());
  CHECK(cluster.status("gen0").draining);
  gen0.signal(SIGKILL);
  REQUIRE(eventually([&] { return cluster.status("gen0").state == NodeState::kLost; }));
  const uint64_t before = cluster.trained();
  REQUIRE(eventually([&] { return cluster.trained() > before + 40 || !cluster.running(); }));
  cluster.stop();
  const Result<RunSummary> end = cluster.end();
  INFO((end.ok() ? cluster.log() : end.error().message));
  CHECK(end.ok());
}

TEST_CASE("only the operator may ask the head, and not for everything") {
  Cluster cluster({1, 1, 1});
  cluster.expect("tr0");
  cluster.begin(options_of(kEndless));
  CHECK(contains(cluster.drain("tr0").error().message, "the run has not begun"));
  cluster.start("tr0", {0, 1, 0});
  REQUIRE(eventually([&] { return cluster.trained() >= 4; }));
  for (const char* who : {"tr0", "head", "stranger"}) {
    const auto refused = cluster.ask_as(who, {});
    REQUIRE_FALSE(refused.ok());
    CHECK(refused.error().message ==
          "node " + std::string(who) + " may not ask: only who has the run's secrets may");
  }
  CHECK(contains(cluster.drain("head").error().message, "the head cannot be drained"));
  cluster.stop();
  CHECK(cluster.end().ok());
}

TEST_CASE("a second node of the same name is refused, and says so") {
  Cluster cluster({1, 0, 1});
  cluster.expect("tr0");
  cluster.begin(options_of(200));
  cluster.start("tr0", {0, 1, 0});
  REQUIRE(eventually([&] { return cluster.trained() >= 4; }));
  Process& other = cluster.start("tr0", {0, 1, 0});
  CHECK(other.wait(20s) == 3);
  CHECK(contains(other.err(), "a node tr0 belongs to the run already and is ready"));
  CHECK(cluster.end().ok());
}

// What the head answers to `claimed` from a node whose certificate names `node`.
Welcome join_as(Cluster& cluster, const std::string& node, const NodeAddress& claimed) {
  TempDir dir;
  NodeSetup setup = fake_node_setup(cluster.identity(node));
  NodeConfig config;
  use_links(config, setup.membership);
  caf::actor_system system(config);
  const auto gateway = Gateway::open(setup, NodeLog::open(dir / "node.log").value()).value();
  gateway->serve(system, nullptr);
  const auto front = gateway->reach(cluster.head(), std::chrono::steady_clock::now() + 10s, {});
  REQUIRE(front.ok());
  Welcome welcome;
  caf::scoped_actor self(system);
  self->request(caf::actor_cast<SupervisorActor>(*front), 10s, join_atom::value, claimed)
      .receive([&](Welcome& got) { welcome = std::move(got); },
               [](const caf::error&) { FAIL("no answer"); });
  return welcome;
}

TEST_CASE("a node cannot join by a name that is not that of its certificate") {
  Cluster cluster({1, 0, 1});
  cluster.expect("tr0");
  cluster.begin(options_of(3));
  const Welcome refused = join_as(cluster, "gen7", {"tr0", "127.0.0.1", 1});
  CHECK_FALSE(refused.outcome.ok);
  CHECK(refused.outcome.message ==
        "the node's certificate is that of 'gen7', it cannot join as tr0");
  CHECK(refused.config.empty());
  CHECK(refused.nodes.empty());
  CHECK(contains(cluster.log(), "node 'gen7' asked to join as tr0 and was refused"));
  // The name that was asked for in vain is still its owner's.
  cluster.start("tr0", {0, 1, 0});
  CHECK(cluster.end().ok());
}

TEST_CASE("a node that says that its door is another's is not reached there") {
  Cluster cluster({1, 0, 1});
  cluster.expect("tr0");
  cluster.begin(options_of(3));
  // gen7 says that its door is the head's.
  CHECK(join_as(cluster, "gen7", {"gen7", "127.0.0.1", cluster.head().port}).outcome.ok);
  const auto context = TlsContext::create(cluster.identity("tr0")).value();
  Hello hello = fake_node_setup(cluster.identity("tr0")).hello;
  hello.node = "tr0";
  hello.channel = Channel::kActors;
  const auto dialled = dial("127.0.0.1", cluster.head().port, context, hello, "gen7",
                            std::chrono::steady_clock::now() + 10s);
  REQUIRE_FALSE(dialled.ok());
  CHECK(dialled.error().error_class == ErrorClass::kBadInput);
  cluster.stop();
  CHECK(cluster.end().ok());
}

TEST_CASE(
    "a head that is told to stop while it waits for its nodes ends without a trace of a run") {
  Cluster cluster({1, 0, 1});
  cluster.expect("tr0");
  cluster.begin(options_of(2));
  cluster.stop();
  const Result<RunSummary> end = cluster.end();
  REQUIRE(end.ok());
  CHECK(end->interrupted);
  CHECK(end->step == 0);
  CHECK(cluster.run.count("SELECT count(*) FROM groups") == 0);
}

TEST_CASE("a node that never finds its head ends by its deadline") {
  const TempDir dir;
  const RunAuthority authority = RunAuthority::create(1).value();
  WorkerSetup setup;
  setup.node = fake_node_setup(authority.issue("gen0", 1).value());
  setup.node.membership.join_ms = 300;
  setup.head = {"head", "127.0.0.1", 1};  // nobody listens there
  setup.log_file = (dir / "gen0.log").string();
  std::stop_source stop;
  auto end = std::async(std::launch::async, [&] { return run_worker(setup, stop.get_token()); });
  const bool ended = end.wait_for(10s) == std::future_status::ready;
  stop.request_stop();
  REQUIRE(ended);
  const Result<void> failed = end.get();
  REQUIRE_FALSE(failed.ok());
  CHECK(failed.error().error_class == ErrorClass::kDeadline);
  CHECK(contains(failed.error().message, "the head was not found within 300 ms"));
}

TEST_CASE("a run whose nodes never come ends by its deadline and names them") {
  Cluster cluster({1, 0, 1});
  cluster.expect("tr0");
  RunOptions options = options_of(2);
  options.deadlines.start_ms = 300;
  cluster.begin(options);
  const Result<RunSummary> end = cluster.end();
  REQUIRE_FALSE(end.ok());
  CHECK(end.error().error_class == ErrorClass::kDeadline);
  CHECK(end.error().message == "the run waited 300 ms (deadlines.start_ms) for node tr0");
}

}  // namespace
}  // namespace tracewise
