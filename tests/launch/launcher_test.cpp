// The launcher with nodes that are shell scripts: they speak its lines, and fail as they are told.
#include "launch/launcher.hpp"

#include <fcntl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <csignal>
#include <cstring>

#include "tests/process_tree.hpp"
#include "tests/temp_dir.hpp"

namespace tracewise {
namespace {

constexpr const char* kStarted = R"(read -r envelope; echo '{"started":true}';)";
constexpr const char* kOpen = R"(echo '{"open":{"host":"h","port":4000}}';)";
constexpr const char* kJoined =
    R"(read -r head; echo '{"joined":true}'; echo '{"event":"joined"}';)";

// Ends as `class`, see ErrorClass.
std::string failure(ErrorClass error_class, const std::string& message) {
  return "echo '{\"end\":{\"class\":" + std::to_string(static_cast<int>(error_class)) +
         ",\"message\":\"" + message + "\"}}'; exit 1";
}

std::string success(bool interrupted) {
  return std::string(R"(echo '{"end":{"summary":{"interrupted":)") +
         (interrupted ? "true" : "false") +
         R"(,"step":3,"train_seconds":1.5,"checkpoint":"c"}}}'; exit 0)";
}

// Goes on until it is told to stop.
const std::string kHead = std::string(kStarted) + kOpen + "read -r order; " + success(true);
const std::string kNode = std::string(kStarted) + kJoined +
                          "while read -r order; do case $order in *stop*) break;; esac; done; " +
                          success(true);

class Launch {
 public:
  Launch(const std::string& head, const std::string& node, Topology topology = Topology::kLocal) {
    setup_.config.cluster.topology = topology;
    setup_.config.cluster.membership.lost_ms = 50;
    setup_.config.run.deadlines.stop_ms = 200;
    setup_.config.run.deadlines.exit_ms = 200;
    for (const auto& [name, script] : {std::pair("head", head), std::pair("gen0", node)}) {
      PlacedNode placed;
      placed.name = name;
      placed.door.address = "127.0.0.1";
      placed.host = "h." + std::string(name);
      placed.argv = {"/bin/sh", "-c", script, dir_.path().string()};
      setup_.placement.nodes.push_back(placed);
    }
    setup_.on_event = [this](const std::string& line) {
      events_.push_back(line);
      if (on_event) on_event(line);
    };
    setup_.on_progress = [this](const Progress& progress) { steps_.push_back(progress.step); };
    REQUIRE(::pipe2(signals_, O_CLOEXEC | O_NONBLOCK) == 0);
    setup_.signal_fd = signals_[0];
  }
  ~Launch() {
    ::close(signals_[0]);
    ::close(signals_[1]);
  }

  Result<RunSummary> run() {
    auto folder = LaunchFolder::open(root(), false);
    REQUIRE(folder.ok());
    auto outcome = Launcher(setup_, folder->get()).run();
    CHECK(descendants(::getpid()).empty());
    return outcome;
  }

  // As a signal that the launcher reads.
  void signal() const {
    const signalfd_siginfo info{};
    REQUIRE(::write(signals_[1], &info, sizeof info) == sizeof info);
  }

  std::filesystem::path operator/(const std::string& name) const { return dir_ / name; }
  std::filesystem::path root() const { return dir_ / "run"; }
  ClusterOptions& cluster() { return setup_.config.cluster; }
  bool said(const std::string& words) const {
    return std::ranges::any_of(
        events_, [&](const std::string& line) { return line.find(words) != std::string::npos; });
  }
  const std::vector<uint64_t>& steps() const { return steps_; }
  std::string log(const std::string& node) const {
    return slurp(root() / "logs" / (node + ".log"));
  }

  std::function<void(const std::string&)> on_event;

 private:
  TempDir dir_;
  LaunchSetup setup_;
  int signals_[2];
  std::vector<std::string> events_;
  std::vector<uint64_t> steps_;
};

// As often as a script ran that writes a line to $0/NAME.
long runs(const Launch& launch, const std::string& name) {
  const std::string text = slurp(launch / name);
  return std::count(text.begin(), text.end(), '\n');
}

TEST_CASE("the head's end ends the launch with its summary, and its lines go where they belong") {
  Launch launch(std::string(kStarted) + kOpen +
                    "echo plain; echo oops >&2; "
                    R"(echo '{"progress":{"step":7,"steps":9,"version":1,"accuracy":0,)"
                    R"("response_tokens":0,"tokens_per_second":0,"train_seconds":0,)"
                    R"("seconds_left":-1,"activity":"training"}}';)" +
                    success(false),
                kNode);
  const auto outcome = launch.run();
  REQUIRE(outcome.ok());
  CHECK(outcome->step == 3);
  CHECK_FALSE(outcome->interrupted);
  CHECK(launch.steps() == std::vector<uint64_t>{7});
  CHECK(launch.said("the head is at h:4000"));
  const std::string log = launch.log("head");
  CHECK(log.find("head: plain\n") != std::string::npos);
  CHECK(log.find("head: oops\n") != std::string::npos);
  CHECK(log.find("progress") == std::string::npos);
}

TEST_CASE("a head that starts again does not wait for a node that has left the run") {
  const std::string head =
      std::string(kStarted) + "printf '%s\\n' \"$envelope\" >>$0/envelopes; " + kOpen +
      "if [ $(wc -l <$0/envelopes) -gt 1 ]; then " + success(false) +
      "; fi; until grep -q 'gen0 has left' $0/run/logs/launch.log; do sleep 0.01; done; exit 9";
  Launch launch(head, std::string(kStarted) + kJoined + success(false));
  REQUIRE(launch.run().ok());
  const std::string envelopes = slurp(launch / "envelopes");
  const size_t second = envelopes.find('\n');
  CHECK(envelopes.substr(0, second).find(R"("expected":["gen0"])") != std::string::npos);
  CHECK(envelopes.substr(second).find(R"("expected":[])") != std::string::npos);
}

TEST_CASE("a node that won't leave is ended with the run") {
  Launch launch(
      std::string(kStarted) + kOpen + success(false),
      std::string(kStarted) + "trap '' TERM; setsid sleep 100 & while :; do sleep 1; done");
  const auto begun = std::chrono::steady_clock::now();
  REQUIRE(launch.run().ok());
  CHECK(std::chrono::steady_clock::now() - begun < std::chrono::seconds(8));
}

TEST_CASE("a node that dies before it has joined is started again as often as it may be") {
  Launch launch(kHead, "echo x >>$0/runs; echo boom >&2; exit 9");
  launch.cluster().node_restarts = 1;
  const auto outcome = launch.run();
  REQUIRE_FALSE(outcome.ok());
  CHECK(outcome.error().message == "node gen0: it ended with exit code 9, its last words: boom");
  CHECK(runs(launch, "runs") == 2);
  CHECK(launch.said("gen0 is started again, 0 restarts are left: it ended with exit code 9"));
}

TEST_CASE("a run goes on without a node that has joined and has no restarts left") {
  Launch launch(
      std::string(kStarted) + kOpen + "until [ -e $0/go ]; do sleep 0.02; done; " + success(false),
      std::string(kStarted) + kJoined + "kill -KILL $$");
  launch.cluster().node_restarts = 0;
  launch.on_event = [&](const std::string& line) {
    if (line == "gen0 is lost, no restarts are left: it was ended by signal 9")
      std::ofstream(launch / "go") << "go";
  };
  CHECK(launch.run().ok());
}

TEST_CASE("a node that doesn't start in time ends the launch before the head has begun") {
  Launch launch("echo x >>$0/runs; exit 1", "echo waiting for a host >&2; sleep 100");
  launch.cluster().membership.join_ms = 200;
  const auto outcome = launch.run();
  REQUIRE_FALSE(outcome.ok());
  CHECK(outcome.error().error_class == ErrorClass::kDeadline);
  CHECK(outcome.error().message ==
        "node gen0 did not start within 200 ms (cluster.join_ms): waiting for a host");
  CHECK(runs(launch, "runs") == 0);
}

TEST_CASE("a node that cannot serve at all ends the launch at once") {
  Launch launch(kHead, std::string(kStarted) + "echo x >>$0/runs; " +
                           failure(ErrorClass::kUnsupported, "another build"));
  const auto outcome = launch.run();
  REQUIRE_FALSE(outcome.ok());
  CHECK(outcome.error().error_class == ErrorClass::kUnsupported);
  CHECK(outcome.error().message == "node gen0: another build");
  CHECK(runs(launch, "runs") == 1);
}

TEST_CASE("a host that ssh cannot reach is named with ssh's own words, and not tried again") {
  Launch launch(kHead,
                "echo x >>$0/runs; echo 'me@h: Permission denied (publickey).' >&2; exit 255",
                Topology::kSsh);
  const auto outcome = launch.run();
  REQUIRE_FALSE(outcome.ok());
  CHECK(outcome.error().error_class == ErrorClass::kBadInput);
  CHECK(outcome.error().message ==
        "node gen0: host h.gen0 cannot be reached: me@h: Permission denied (publickey).");
  CHECK(runs(launch, "runs") == 1);
}

TEST_CASE("a connection that ssh loses later is made again") {
  Launch launch(std::string(kStarted) + kOpen +
                    "until [ $(wc -l <$0/runs) = 2 ]; do sleep 0.02; done; " + success(false),
                std::string(kStarted) + kJoined + "echo x >>$0/runs; exit 255", Topology::kSsh);
  launch.cluster().node_restarts = 1;
  std::ofstream(launch / "runs").flush();
  CHECK(launch.run().ok());
  CHECK(runs(launch, "runs") == 2);
}

TEST_CASE("a head that dies is started again at its old port and resumes what it had begun") {
  // Its first process dies before there is a run, its second one after.
  Launch launch(std::string(kStarted) + "printf '%s\\n' \"$envelope\" >>$0/runs; " + kOpen +
                    "case $(wc -l <$0/runs) in 1) kill -KILL $$;; 2) echo >$0/run/run.db; exit 3;; "
                    "esac; " +
                    success(false),
                kNode);
  CHECK(launch.run().ok());
  std::ifstream file(launch / "runs");
  std::vector<NodeEnvelope> envelopes;
  for (std::string line; std::getline(file, line);) {
    const auto read = envelope_from_line(line);
    REQUIRE(read.ok());
    envelopes.push_back(*read);
  }
  REQUIRE(envelopes.size() == 3);
  CHECK_FALSE(envelopes[0].head->resume);
  CHECK(envelopes[0].door.port > 0);
  CHECK(envelopes[0].door.fixed_port);
  CHECK_FALSE(envelopes[1].head->resume);
  CHECK(envelopes[1].door.port == envelopes[0].door.port);
  CHECK(envelopes[2].head->resume);
  CHECK(envelopes[2].head->expected == std::vector<std::string>{"gen0"});
  CHECK(envelopes[2].identity == envelopes[0].identity);
}

TEST_CASE("what another start of the head would meet again ends the launch") {
  for (const auto error_class : {ErrorClass::kBadInput, ErrorClass::kIo}) {
    Launch launch(std::string(kStarted) + "echo x >>$0/runs; " + failure(error_class, "no"), kNode);
    const auto outcome = launch.run();
    REQUIRE_FALSE(outcome.ok());
    CHECK(outcome.error().error_class == error_class);
    CHECK(outcome.error().message == "no");
    CHECK(runs(launch, "runs") == 1);
  }
  Launch launch(std::string(kStarted) + "echo x >>$0/runs; " + failure(ErrorClass::kDeadline, "no"),
                kNode);
  launch.cluster().head_restarts = 2;
  CHECK_FALSE(launch.run().ok());
  CHECK(runs(launch, "runs") == 3);
}

TEST_CASE("a signal stops the head in order, a second one all at once") {
  SECTION("once") {
    Launch launch(kHead, kNode);
    launch.on_event = [&](const std::string& line) {
      if (line == "gen0: joined") launch.signal();
    };
    const auto outcome = launch.run();
    REQUIRE(outcome.ok());
    CHECK(outcome->interrupted);
  }
  SECTION("before the run has begun") {
    Launch launch(std::string(kStarted) + kOpen + "sleep 100", std::string(kStarted) + "sleep 100");
    launch.on_event = [&](const std::string& line) {
      if (line.starts_with("the head is at")) launch.signal();
    };
    const auto outcome = launch.run();
    REQUIRE_FALSE(outcome.ok());
    CHECK(outcome.error().error_class == ErrorClass::kCancelled);
    CHECK(outcome.error().message == "stopped before the run began");
  }
  SECTION("twice") {
    Launch launch(std::string(kStarted) + kOpen + "trap '' TERM; while :; do sleep 1; done", kNode);
    launch.on_event = [&](const std::string& line) {
      if (line == "gen0: joined" || line.starts_with("stopping")) launch.signal();
    };
    const auto outcome = launch.run();
    REQUIRE_FALSE(outcome.ok());
    CHECK(outcome.error().error_class == ErrorClass::kCancelled);
  }
}

TEST_CASE("a held port goes to nobody but who asks for it by number") {
  auto held = hold_port("127.0.0.1", 0);
  REQUIRE(held.ok());
  REQUIRE(held->port > 0);
  {
    const auto listener = listen_on("127.0.0.1", held->port, held->port);
    REQUIRE(listener.ok());
    const auto second = hold_port("127.0.0.1", held->port);
    REQUIRE_FALSE(second.ok());
    CHECK(second.error().message ==
          "port " + std::to_string(held->port) + " on 127.0.0.1 is in use");
  }
  CHECK(listen_on("127.0.0.1", held->port, held->port).ok());  // again, after its first owner
  CHECK_FALSE(hold_port("here", 0).ok());
}

TEST_CASE("a launch folder has one launcher, and goes when no run has begun in it") {
  const TempDir dir;
  auto first = LaunchFolder::open(dir / "run", false);
  REQUIRE(first.ok());
  const auto second = LaunchFolder::open(dir / "run", false);
  REQUIRE_FALSE(second.ok());
  CHECK(second.error().message.find("process " + std::to_string(::getpid())) != std::string::npos);
  (*first)->remove_unused();
  CHECK_FALSE(std::filesystem::exists(dir / "run"));
  first->reset();

  auto again = LaunchFolder::open(dir / "run", false);
  REQUIRE(again.ok());
  const auto identity = (*again)->authority().issue("a", 1);
  REQUIRE(identity.ok());
  dir.put("run/run.db", "");
  (*again)->remove_unused();
  again->reset();
  CHECK_FALSE(LaunchFolder::open(dir / "run", false).ok());  // it holds a run now
  const auto resumed = LaunchFolder::open(dir / "run", true);
  REQUIRE(resumed.ok());
  CHECK((*resumed)->authority().issue("a", 1)->authority_pem == identity->authority_pem);
  CHECK_FALSE(LaunchFolder::open(dir / "nowhere", true).ok());
  const auto secret = std::filesystem::status(dir / "run/secrets/authority").permissions();
  CHECK(secret == (std::filesystem::perms::owner_read | std::filesystem::perms::owner_write));
}

}  // namespace
}  // namespace tracewise
