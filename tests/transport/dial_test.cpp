#include "transport/dial.hpp"

#include <catch2/catch.hpp>

#include "tests/transport/run_of_nodes.hpp"

namespace tracewise {
namespace {

// dial() to a port of loopback that is no door.
Error failure(const RunOfNodes& run, uint16_t port, int within_ms, std::stop_token stop = {}) {
  const auto refused =
      dial("127.0.0.1", port, run.context("g0"), run.hello("g0"), "head", in_ms(within_ms), stop);
  REQUIRE_FALSE(refused.ok());
  return refused.error();
}

std::string at(uint16_t port) { return "127.0.0.1:" + std::to_string(port); }

}  // namespace

TEST_CASE("a door is found by its name too") {
  const RunOfNodes run;
  const Head head(run);
  const auto stream = good(dial("localhost", head.door->port(), run.context("g0"), run.hello("g0"),
                                "head", in_ms(5000)));
  CHECK(stream->peer() == "head");
}

TEST_CASE("any node of the run will do where none is expected, another one than expected won't") {
  const RunOfNodes run;
  const Head head(run);
  good(head.dialled(run.context("g0"), run.hello("g0"), ""));
  const auto refused = head.dialled(run.context("g0"), run.hello("g0"), "g1");
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().error_class == ErrorClass::kBadInput);
  CHECK(refused.error().message == at(head.door->port()) + " is node 'head', not 'g1'");
}

TEST_CASE("a door of another run is not entered") {
  const RunOfNodes run;
  const Head head(run);
  const auto refused = head.dialled(RunOfNodes().context("g0"), run.hello("g0"));
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().error_class == ErrorClass::kBadInput);
  CHECK(refused.error().message.find("cannot connect to " + at(head.door->port()) +
                                     ": its certificate is not one of this run: ") == 0);
}

TEST_CASE("a port where nobody listens refuses at once") {
  const RunOfNodes run;
  uint16_t port = 0;
  {
    const Head head(run);
    port = head.door->port();
  }
  const Error error = failure(run, port, 5000);
  CHECK(error.error_class == ErrorClass::kIo);
  CHECK(error.message == "cannot connect to " + at(port) + ": Connection refused");
}

TEST_CASE("a host without an address is refused with its name") {
  const RunOfNodes run;
  const auto refused =
      dial("no-such-host.invalid", 1, run.context("g0"), run.hello("g0"), "", in_ms(3000));
  REQUIRE_FALSE(refused.ok());
  // A resolver without a network may think about it for longer than we do.
  const bool late = refused.error().error_class == ErrorClass::kDeadline;
  CHECK((late || refused.error().error_class == ErrorClass::kBadInput));
  CHECK(refused.error().message.find("no-such-host.invalid:1") != std::string::npos);
}

TEST_CASE("a deadline names the part that hung: connecting") {
  const RunOfNodes run;
  // A queue of one place, taken: the system drops what else comes, as a black hole does.
  const Listener full = good(listen_on("127.0.0.1", 0, 0));
  REQUIRE(::listen(full.fd.get(), 0) == 0);
  const Fd taken = plain_connection(full.port);
  const TimePoint start = std::chrono::steady_clock::now();
  const Error error = failure(run, full.port, 100);
  CHECK(error.error_class == ErrorClass::kDeadline);
  CHECK(error.message == at(full.port) + " did not take the connection in time");
  CHECK(ms_since(start) >= 100);
  CHECK(ms_since(start) < 1000);
}

TEST_CASE("a deadline names the part that hung: TLS") {
  const RunOfNodes run;
  const Listener mute = good(listen_on("127.0.0.1", 0, 0));
  const TimePoint start = std::chrono::steady_clock::now();
  const Error error = failure(run, mute.port, 100);
  CHECK(error.error_class == ErrorClass::kDeadline);
  CHECK(error.message == at(mute.port) + " took the connection, but did not finish TLS in time");
  CHECK(ms_since(start) >= 100);
  CHECK(ms_since(start) < 1000);
}

TEST_CASE("a deadline names the part that hung: the hello; an end without an answer is told") {
  const RunOfNodes run;
  const Listener listener = good(listen_on("127.0.0.1", 0, 0));
  const TlsContext context = run.context("head");
  const auto receive = [&] {
    const bool came = wait_readable(listener.fd.get(), in_ms(5000)).ok();
    auto stream = context.accepting(Fd(came ? ::accept(listener.fd.get(), nullptr, nullptr) : -1));
    const bool shaken = shake_hands(*stream, in_ms(5000)).ok();
    return shaken ? std::move(stream) : nullptr;
  };
  std::unique_ptr<TlsStream> held;
  std::thread mute([&] { held = receive(); });
  const Error hung = failure(run, listener.port, 200);
  mute.join();
  CHECK(hung.error_class == ErrorClass::kDeadline);
  CHECK(hung.message == at(listener.port) + " did not answer our hello in time");

  std::thread leaving([&] {
    if (const auto stream = receive()) stream->shut_down();
  });
  const Error ended = failure(run, listener.port, 5000);
  leaving.join();
  CHECK(ended.error_class == ErrorClass::kIo);
  CHECK(ended.message.find("before it answered our hello") != std::string::npos);
}

TEST_CASE("a stop request ends a dial in whatever part it is") {
  const RunOfNodes run;
  const Listener mute = good(listen_on("127.0.0.1", 0, 0));
  std::stop_source stop;
  std::thread stopper([&] {
    // It is in TLS: the connection is there.
    const bool came = wait_readable(mute.fd.get(), in_ms(5000)).ok();
    if (came) stop.request_stop();
  });
  const TimePoint start = std::chrono::steady_clock::now();
  const Error error = failure(run, mute.port, 60000, stop.get_token());
  stopper.join();
  CHECK(error.error_class == ErrorClass::kCancelled);
  CHECK(error.message == "connecting to " + at(mute.port) + " was cancelled");
  CHECK(ms_since(start) < 5000);
  // Asked before it began, it doesn't begin.
  CHECK(failure(run, mute.port, 60000, stop.get_token()).error_class == ErrorClass::kCancelled);
}

TEST_CASE("a handed-over stream carries 10 MB both ways at once") {
  const RunOfNodes run;
  Head head(run);
  const auto ours = good(head.dialled(run.context("g0"), run.hello("g0")));
  const auto theirs = head.arrivals.take();
  const auto there = pattern(10'000'000, 1);
  const auto back = pattern(10'000'000, 2);
  const TimePoint deadline = in_ms(10000);
  std::vector<std::byte> got;
  std::thread other([&] { got = exchange(*theirs.stream, back, deadline); });
  const auto got_back = exchange(*ours, there, deadline);
  other.join();
  CHECK((got == there));
  CHECK((got_back == back));
}

}  // namespace tracewise
