// Two nodes, and a server that listens where tunnels end.
#include "transport/tunnel.hpp"

#include <optional>

#include "tests/transport/run_of_nodes.hpp"

using namespace tracewise;

namespace {

// A node whose door serves a tunnel for `peers`.
struct TunnelNode {
  TunnelNode(const RunOfNodes& run, const std::string& name, TunnelOptions options) {
    DoorOptions at_door;
    at_door.address = "127.0.0.1";
    door = good(Door::open(at_door, run.context(name), RunOfNodes::hello(name)));
    tunnel.emplace(*door, run.context(name), RunOfNodes::hello(name), options);
  }
  // Connected to what leads to `port` at `other`.
  Fd reach(const TunnelNode& other, const std::string& name, uint16_t port) {
    return plain_connection(good(tunnel->forward(name, "127.0.0.1", other.door->port(), port)));
  }

  std::unique_ptr<Door> door;
  std::optional<Tunnel> tunnel;
};

// Listens on kTunnelTarget and gives back what one connection sends, until it ends.
class Echo {
 public:
  Echo() : listener_(good(listen_on(kTunnelTarget, 0, 0))) {
    thread_ = std::jthread([this] {
      if (!wait_readable(listener_.fd.get(), in_ms(10000), stop_.fd()).ok()) return;
      const Fd near(::accept(listener_.fd.get(), nullptr, nullptr));
      std::vector<std::byte> buffer(100'000);
      for (ssize_t got; (got = ::recv(near.get(), buffer.data(), buffer.size(), 0)) > 0;) {
        if (::send(near.get(), buffer.data(), static_cast<size_t>(got), MSG_NOSIGNAL) != got) break;
      }
      ended_ = true;
    });
  }
  ~Echo() { source_.request_stop(); }
  uint16_t port() const { return listener_.port; }
  bool ended() const { return ended_; }

 private:
  Listener listener_;
  std::stop_source source_;
  StopSignal stop_{source_.get_token()};
  std::atomic<bool> ended_{false};
  std::jthread thread_;
};

std::vector<std::byte> through(const Fd& fd, std::span<const std::byte> out) {
  std::vector<std::byte> in(out.size());
  std::jthread writer([&fd, out]() mutable {
    while (!out.empty()) {
      const ssize_t sent = ::send(fd.get(), out.data(), out.size(), MSG_NOSIGNAL);
      if (sent <= 0) return;
      out = out.subspan(static_cast<size_t>(sent));
    }
  });
  size_t got = 0;
  while (got < in.size() && wait_readable(fd.get(), in_ms(10000)).ok()) {
    const ssize_t more = ::recv(fd.get(), in.data() + got, in.size() - got, 0);
    if (more <= 0) break;
    got += static_cast<size_t>(more);
  }
  in.resize(got);
  return in;
}

}  // namespace

TEST_CASE("a connection through a tunnel carries the same bytes both ways, and ends with it") {
  const RunOfNodes run;
  TunnelNode a(run, "a", {.peers = {"b"}}), b(run, "b", {.peers = {"a"}});
  Echo echo;
  Fd fd = b.reach(a, "a", echo.port());
  const std::vector<std::byte> out = pattern(5'000'001, 3);
  CHECK(through(fd, out) == out);
  fd.reset();
  CHECK(eventually([&] { return echo.ended(); }));
}

TEST_CASE("a tunnel that is destroyed ends what it carries, on both hosts") {
  const RunOfNodes run;
  TunnelNode a(run, "a", {.peers = {"b"}}), b(run, "b", {.peers = {"a"}});
  for (TunnelNode* ending : {&a, &b}) {
    TunnelNode& other = ending == &a ? b : a;
    Echo echo;
    const Fd fd = ending->reach(other, ending == &a ? "b" : "a", echo.port());
    REQUIRE(through(fd, bytes_of("hello")).size() == 5);
    ending->tunnel.reset();
    CHECK(is_ended(fd));
    CHECK(eventually([&] { return echo.ended(); }));
    ending->tunnel.emplace(*ending->door, run.context(ending == &a ? "a" : "b"),
                           RunOfNodes::hello(ending == &a ? "a" : "b"),
                           TunnelOptions{.peers = {"a", "b"}});
  }
}

TEST_CASE("a node that is no peer of a tunnel gets nowhere") {
  const RunOfNodes run;
  TunnelNode a(run, "a", {.peers = {"c"}}), b(run, "b", {.peers = {"a"}});
  Echo echo;
  CHECK(is_ended(b.reach(a, "a", echo.port())));
  CHECK_FALSE(echo.ended());
}

TEST_CASE("a connection that cannot be carried on is closed") {
  const RunOfNodes run;
  TunnelNode a(run, "a", {.peers = {"b"}}), b(run, "b", {.peers = {"a"}});
  SECTION("nobody listens at the end") {
    uint16_t port = 0;
    {
      const Echo gone;
      port = gone.port();
    }
    CHECK(is_ended(b.reach(a, "a", port)));
  }
  SECTION("the node has no tunnel") {
    a.tunnel.reset();
    const Echo echo;
    CHECK(is_ended(b.reach(a, "a", echo.port())));
  }
  SECTION("the node is another one than was meant") {
    const Echo echo;
    CHECK(is_ended(b.reach(a, "c", echo.port())));
  }
}

TEST_CASE("a tunnel carries no more connections than it may") {
  const RunOfNodes run;
  TunnelNode a(run, "a", {.peers = {"b"}}), b(run, "b", {.peers = {"a"}, .max_connections = 1});
  const Echo echo;
  const Fd first = b.reach(a, "a", echo.port());
  REQUIRE(through(first, bytes_of("hello")).size() == 5);
  const auto second = b.tunnel->forward("a", "127.0.0.1", a.door->port(), echo.port());
  REQUIRE_FALSE(second.ok());
  CHECK(second.error().message.find("node a") != std::string::npos);
}
