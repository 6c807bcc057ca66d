#include "launch/envelope.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <thread>

#include "launch/invitation.hpp"
#include "launch/launcher_link.hpp"

namespace tracewise {
namespace {

NodeEnvelope envelope(bool head) {
  const auto authority = RunAuthority::create(1);
  REQUIRE(authority.ok());
  const auto identity = authority->issue("gen0", 1);
  REQUIRE(identity.ok());
  NodeEnvelope e;
  e.identity = *identity;
  e.run = "run-1";
  e.build = "abc";
  e.seats = {1, 2, 3, 1};
  e.rank_device = "cuda:2";
  e.devices = {"cuda:1"};
  e.threads = 4;
  e.door = {"10.0.0.1", 4000, true, 5, 6};
  e.host = "a.example";
  e.membership = {1, 2, 3, 4};
  e.weights = {WeightsWay::kNccl, "cuda:2"};
  e.head_wait_ms = 77;
  if (head) e.head = HeadEnvelope{"[run]\nseed = 1\n", true, {"gen0", "gen1"}};
  return e;
}

class Pipe {
 public:
  Pipe() { REQUIRE(::pipe(ends_) == 0); }
  ~Pipe() {
    ::close(ends_[0]);
    end();
  }
  int read() const { return ends_[0]; }
  void write(const std::string& text) const {
    REQUIRE(::write(ends_[1], text.data(), text.size()) == static_cast<ssize_t>(text.size()));
  }
  void end() {
    if (ends_[1] >= 0) ::close(ends_[1]);
    ends_[1] = -1;
  }

 private:
  int ends_[2];
};

TEST_CASE("an envelope is one line that reads back to the same") {
  for (const bool head : {false, true}) {
    const NodeEnvelope sent = envelope(head);
    const std::string line = to_line(sent);
    CHECK(line.find('\n') == line.size() - 1);
    const auto read = envelope_from_line(line);
    REQUIRE(read.ok());
    CHECK(read->identity == sent.identity);
    CHECK(read->run == "run-1");
    CHECK(read->build == "abc");
    CHECK(read->seats == Seats{1, 2, 3, 1});
    CHECK(read->rank_device == "cuda:2");
    CHECK(read->devices == std::vector<std::string>{"cuda:1"});
    CHECK(read->threads == 4);
    CHECK(read->door.address == "10.0.0.1");
    CHECK(read->door.port == 4000);
    CHECK(read->door.fixed_port);
    CHECK(read->door.handshake_ms == 5);
    CHECK(read->door.max_pending == 6);
    CHECK(read->host == "a.example");
    CHECK(read->membership.join_ms == 4);
    CHECK(read->weights == sent.weights);
    CHECK(read->head_wait_ms == 77);
    REQUIRE(read->head.has_value() == head);
    if (!head) continue;
    CHECK(read->head->config == "[run]\nseed = 1\n");
    CHECK(read->head->resume);
    CHECK(read->head->expected == std::vector<std::string>{"gen0", "gen1"});
  }
}

TEST_CASE("what is no envelope is refused without being quoted") {
  const std::string line = to_line(envelope(false));
  const std::string shortened = line.substr(0, line.size() / 2);
  for (const std::string& bad : {std::string(), std::string("{}"), std::string("[1]"), shortened}) {
    const auto read = envelope_from_line(bad);
    REQUIRE_FALSE(read.ok());
    CHECK(read.error().error_class == ErrorClass::kBadInput);
    CHECK(read.error().message.find("PRIVATE") == std::string::npos);
  }
}

TEST_CASE("reports read back to the same, and other lines are none") {
  RunSummary summary;
  summary.interrupted = true;
  summary.step = 12;
  summary.checkpoint = "/runs/1/checkpoints/step-12";
  summary.evals.resize(2);
  summary.evals[1].accuracy = 0.5;
  summary.evals[1].tokens_mean = 31;
  const auto end = report_from_line(to_line(EndReport{std::nullopt, summary}));
  REQUIRE(end.has_value());
  const auto& ended = std::get<EndReport>(*end);
  CHECK_FALSE(ended.error.has_value());
  CHECK(ended.summary.interrupted);
  CHECK(ended.summary.step == 12);
  CHECK(ended.summary.checkpoint == summary.checkpoint);
  REQUIRE(ended.summary.evals.size() == 1);
  CHECK(ended.summary.evals[0].accuracy == 0.5);
  CHECK(ended.summary.evals[0].tokens_mean == 31);

  const auto failed = report_from_line(to_line(EndReport{io_error("disk full"), {}}));
  REQUIRE(failed.has_value());
  CHECK(std::get<EndReport>(*failed).error->error_class == ErrorClass::kIo);
  CHECK(std::get<EndReport>(*failed).error->message == "disk full");

  Progress progress;
  progress.step = 3;
  progress.accuracy = 0.25;
  progress.activity = "training";
  const auto shown = report_from_line(to_line(NodeReport(progress)));
  REQUIRE(shown.has_value());
  CHECK(progress_line(std::get<Progress>(*shown)) == progress_line(progress));

  CHECK(std::get<HeadAddress>(*report_from_line(to_line(HeadAddress{"h", 7}))) ==
        HeadAddress{"h", 7});
  CHECK(std::get<EventReport>(*report_from_line(to_line(EventReport{"x\ny"}))).line == "x\ny");
  CHECK(std::holds_alternative<StartedReport>(*report_from_line(to_line(StartedReport{}))));
  CHECK(std::holds_alternative<JoinedReport>(*report_from_line(to_line(JoinedReport{}))));
  for (const char* line : {"", "Welcome to a.example!", "{\"x\":1}", "{\"open\":3}", "[\"end\"]"})
    CHECK_FALSE(report_from_line(line).has_value());
}

TEST_CASE("the envelope is read from the input and nothing after it is taken") {
  Pipe pipe;
  pipe.write(to_line(envelope(false)) + to_line(NodeOrder{HeadAddress{"h", 9}, false}));
  const auto read = LauncherLink::read_envelope(pipe.read(), std::chrono::seconds(5));
  REQUIRE(read.ok());
  CHECK(read->run == "run-1");
  LauncherLink link(::dup(pipe.read()), std::chrono::hours(1));
  const auto head = link.wait_head(std::chrono::seconds(5));
  REQUIRE(head.ok());
  CHECK(*head == HeadAddress{"h", 9});
  CHECK_FALSE(link.stop().stop_requested());
  pipe.write("garbage\n" + to_line(NodeOrder{std::nullopt, true}));
  for (int i = 0; i < 1000 && !link.stop().stop_requested(); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  CHECK(link.stop().stop_requested());
}

TEST_CASE("an envelope or an address that doesn't come is missed at its deadline") {
  Pipe pipe;
  const auto late = LauncherLink::read_envelope(pipe.read(), std::chrono::milliseconds(20));
  REQUIRE_FALSE(late.ok());
  CHECK(late.error().error_class == ErrorClass::kDeadline);
  LauncherLink link(::dup(pipe.read()), std::chrono::hours(1));
  const auto nowhere = link.wait_head(std::chrono::milliseconds(20));
  REQUIRE_FALSE(nowhere.ok());
  CHECK(nowhere.error().error_class == ErrorClass::kDeadline);
  pipe.end();
  const auto stopped = link.wait_head(std::chrono::seconds(5));
  REQUIRE_FALSE(stopped.ok());
  CHECK(stopped.error().error_class == ErrorClass::kCancelled);
}

TEST_CASE("a node whose launcher is gone asks for a stop, and ends at the latest by its limit") {
  Pipe pipe, heard;
  const pid_t child = ::fork();
  if (child == 0) {
    pipe.end();
    LauncherLink link(pipe.read(), std::chrono::milliseconds(100));
    while (!link.stop().stop_requested()) std::this_thread::yield();
    heard.write("stop");
    for (;;) ::pause();  // busy with something else
  }
  pipe.end();
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 130);
  char text[4];
  REQUIRE(::read(heard.read(), text, 4) == 4);
  CHECK(std::string(text, 4) == "stop");
}

TEST_CASE(
    "an invitation is signed by the run, has the head's address, and reads back to the same") {
  RunContact run{RunAuthority::create(1).value(), "run-1", {"front.example", 4000}, {}};
  run.config.cluster.topology = Topology::kSsh;
  run.config.cluster.membership.lost_ms = 1234;
  const auto made = invite(run, "guest-1", 1);
  REQUIRE(made.ok());
  const auto read = invitation_from_text(to_text(*made));
  REQUIRE(read.ok());
  CHECK(read->head == run.head);
  const NodeEnvelope& e = read->envelope;
  CHECK(e.identity == made->envelope.identity);
  CHECK(e.identity.node == "guest-1");
  CHECK(e.identity.authority_pem == run.authority.issue("other", 1)->authority_pem);
  CHECK(e.run == "run-1");
  CHECK(e.membership.lost_ms == 1234);
  CHECK(e.seats == Seats{});
  CHECK(e.door.address == "0.0.0.0");
  CHECK(e.host.empty());  // as its host calls itself
  run.config.cluster.topology = Topology::kLocal;
  CHECK(invite(run, "guest-1", 1)->envelope.door.address == "127.0.0.1");
  CHECK(invite(run, "guest-1", 1)->envelope.host == "127.0.0.1");

  for (const char* name : {"", "a b", "head", "operator", "launch"})
    CHECK(invite(run, name, 1).error().error_class == ErrorClass::kBadInput);
  CHECK(guest_name() != guest_name());
  CHECK(invite(run, guest_name(), 1).ok());
}

TEST_CASE("what is no invitation is refused without being quoted") {
  const std::string whole = to_line(envelope(false));
  for (const std::string& text :
       {std::string(), std::string("{}\n{}\n"), whole, whole + "{}\n",
        to_line(envelope(true)) + to_line(NodeOrder{HeadAddress{"h", 1}, false})}) {
    const auto read = invitation_from_text(text);
    REQUIRE_FALSE(read.ok());
    CHECK(read.error().message == "the token is none: tracewise invite RUN makes one");
  }
}

}  // namespace
}  // namespace tracewise
