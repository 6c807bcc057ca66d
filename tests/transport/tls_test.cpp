#include "transport/tls.hpp"

#include <netinet/tcp.h>
#include <unistd.h>

#include <cstring>

#include "tests/transport/run_of_nodes.hpp"

namespace tracewise {
namespace {

using State = TlsStep::State;

struct Pair {
  std::unique_ptr<TlsStream> one;    // connecting
  std::unique_ptr<TlsStream> other;  // accepting
};

Pair make_pair(const TlsContext& one, const TlsContext& other) {
  int fds[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
  return {one.connecting(Fd(fds[0])), other.accepting(Fd(fds[1]))};
}

// Steps both sides in turn until neither has anything left to do; the last step of each.
std::pair<TlsStep, TlsStep> meet(Pair& pair) {
  TlsStep one{State::kWantRead, 0, ""};
  TlsStep other = one;
  const auto open = [](const TlsStep& step) {
    return step.state == State::kWantRead || step.state == State::kWantWrite;
  };
  for (int round = 0; round < 10 && (open(one) || open(other)); ++round) {
    if (open(one)) one = pair.one->handshake();
    if (open(other)) other = pair.other->handshake();
  }
  return {one, other};
}

Pair met(const RunOfNodes& run) {
  Pair pair = make_pair(run.context("g0"), run.context("head"));
  const auto [one, other] = meet(pair);
  REQUIRE(one.state == State::kDone);
  REQUIRE(other.state == State::kDone);
  return pair;
}

}  // namespace

TEST_CASE("two nodes of a run verify each other's name, and leave nothing unread behind") {
  Pair pair = met(RunOfNodes());
  CHECK(pair.one->peer() == "head");
  CHECK(pair.other->peer() == "g0");
  CHECK(pair.one->pending() == 0);
  CHECK(pair.other->pending() == 0);
  // No session tickets or other afterthoughts lie in either socket.
  char byte;
  CHECK(::recv(pair.one->fd(), &byte, 1, MSG_PEEK) == -1);
  CHECK(::recv(pair.other->fd(), &byte, 1, MSG_PEEK) == -1);
}

TEST_CASE("a node of another run is told apart by both sides") {
  const RunOfNodes run;
  Pair pair = make_pair(RunOfNodes().context("g0"), run.context("head"));
  const auto [one, other] = meet(pair);
  CHECK(one.state == State::kFailed);
  CHECK(one.message.find("its certificate is not one of this run: ") == 0);
  CHECK(other.state == State::kFailed);
  CHECK(other.message.find("alert") != std::string::npos);
  CHECK(pair.one->shut_down().state == State::kCut);
}

TEST_CASE("pending bytes are those of a record that was read in part") {
  Pair pair = met(RunOfNodes());
  CHECK(pair.one->write_some(bytes_of("12345")).bytes == 5);
  std::array<std::byte, 2> two;
  CHECK(pair.other->read_some(two).bytes == 2);
  CHECK(pair.other->pending() == 3);
  std::array<std::byte, 9> rest;
  CHECK(pair.other->read_some(rest).bytes == 3);
  CHECK(std::memcmp(rest.data(), "345", 3) == 0);
  CHECK(pair.other->read_some(rest).state == State::kWantRead);
}

TEST_CASE("a goodbye is told from a cut, and neither end of a connection raises SIGPIPE") {
  const RunOfNodes run;
  std::array<std::byte, 8> buffer;
  {
    Pair pair = met(run);
    CHECK(pair.one->shut_down().state == State::kDone);
    CHECK(pair.other->read_some(buffer).state == State::kClosed);
  }
  Pair pair = met(run);
  pair.one.reset();
  const TlsStep cut = pair.other->read_some(buffer);
  CHECK(cut.state == State::kCut);
  CHECK(cut.message == "the connection was cut");

  Pair writing = met(run);
  writing.one.reset();
  const TlsStep piped = writing.other->write_some(bytes_of("into the void"));
  CHECK(piped.state == State::kCut);
  CHECK(piped.message == "Broken pipe");
}

TEST_CASE("a full socket wants to write, and takes the same bytes from elsewhere later") {
  Pair pair = met(RunOfNodes());
  const auto sent = pattern(8 << 20, 3);
  std::vector<std::byte> taken;
  std::vector<std::byte> buffer(1 << 16);
  size_t done = 0;
  size_t full = 0;
  while (done < sent.size()) {
    // A fresh copy each time: the bytes are the same, the place is not.
    const std::vector<std::byte> chunk(
        sent.begin() + static_cast<ptrdiff_t>(done),
        sent.begin() + static_cast<ptrdiff_t>(std::min(done + 40000, sent.size())));
    const TlsStep step = pair.one->write_some(chunk);
    REQUIRE((step.state == State::kDone || step.state == State::kWantWrite));
    done += step.bytes;
    if (step.state == State::kDone && done < sent.size()) continue;
    ++full;
    for (TlsStep read = pair.other->read_some(buffer); read.state == State::kDone;
         read = pair.other->read_some(buffer)) {
      taken.insert(taken.end(), buffer.begin(),
                   buffer.begin() + static_cast<ptrdiff_t>(read.bytes));
    }
  }
  CHECK(full > 1);
  CHECK((taken == sent));
}

TEST_CASE("blocking reads and writes keep their deadline and hear a stop") {
  Pair pair = met(RunOfNodes());
  std::array<std::byte, 4> buffer;
  const TimePoint start = std::chrono::steady_clock::now();
  const auto late = read_exactly(*pair.one, buffer, in_ms(30));
  CHECK(late.error().error_class == ErrorClass::kDeadline);
  CHECK(ms_since(start) >= 30);

  const std::vector<std::byte> much(16 << 20);
  CHECK(write_all(*pair.one, much, in_ms(30)).error().error_class == ErrorClass::kDeadline);

  std::stop_source stop;
  const StopSignal signal(stop.get_token());
  std::thread stopper([&] { stop.request_stop(); });
  const auto stopped = read_exactly(*pair.one, buffer, in_ms(10000), signal.fd());
  stopper.join();
  CHECK(stopped.error().error_class == ErrorClass::kCancelled);
}

TEST_CASE("a connection's socket doesn't wait to fill packets and ends when its peer is gone") {
  const RunOfNodes run;
  const Listener listener = good(listen_on("127.0.0.1", 0, 0));
  const auto context = good(TlsContext::create(run.identity("head"), 9000));
  const auto stream = context.connecting(plain_connection(listener.port));
  const auto option = [&](int level, int name) {
    int value = -1;
    socklen_t size = sizeof value;
    REQUIRE(::getsockopt(stream->fd(), level, name, &value, &size) == 0);
    return value;
  };
  CHECK(option(IPPROTO_TCP, TCP_NODELAY) == 1);
  CHECK(option(SOL_SOCKET, SO_KEEPALIVE) == 1);
  CHECK(option(IPPROTO_TCP, TCP_KEEPIDLE) == 3);
  CHECK(option(IPPROTO_TCP, TCP_USER_TIMEOUT) == 9000);
}

TEST_CASE("an identity of mixed parts makes no context") {
  const RunOfNodes run;
  Identity mixed = run.identity("head");
  mixed.key_pem = run.identity("g0").key_pem;
  const auto refused = TlsContext::create(mixed);
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().error_class == ErrorClass::kBadInput);
  CHECK(refused.error().message.find("the identity of node 'head' is unusable: ") == 0);
}

}  // namespace tracewise
