#include "transport/requests.hpp"

#include <catch2/catch.hpp>

#include "tests/transport/run_of_nodes.hpp"

namespace tracewise {
namespace {

// A head that answers with who asked and what.
struct Desk {
  explicit Desk(const RequestServerOptions& options = {}) : head(run) {
    server = good(RequestServer::start(
        [](const std::string& request, const std::string& peer) { return peer + ": " + request; },
        options));
    head.door->serve(Channel::kShell, [this](std::unique_ptr<TlsStream> stream, const Hello&) {
      server->take(std::move(stream));
    });
  }
  ~Desk() { head.door->stop_serving(Channel::kShell); }

  std::unique_ptr<TlsStream> come(const std::string& name) const {
    return good(head.dialled(run.context(name), RunOfNodes::hello(name, Channel::kShell)));
  }

  RunOfNodes run;
  Head head;
  std::unique_ptr<RequestServer> server;
};

}  // namespace

TEST_CASE("a request is answered, whatever its length, to whom the certificate names") {
  const Desk desk;
  for (const size_t bytes : {size_t{0}, size_t{5}, size_t{100'000}}) {
    const std::string request(bytes, 'x');
    const auto stream = desk.come("operator");
    CHECK(good(ask(*stream, request, in_ms(5000))) == "operator: " + request);
  }
}

TEST_CASE("who does not ask is let go when its time is over, and then the next is answered") {
  const Desk desk({.request_ms = 100, .max_waiting = 16});
  const auto silent = desk.come("g0");
  const auto asking = desk.come("operator");
  CHECK(good(ask(*asking, "who", in_ms(5000))) == "operator: who");
  std::byte byte{};
  const auto ended = read_exactly(*silent, std::span(&byte, 1), in_ms(5000));
  REQUIRE_FALSE(ended.ok());
  CHECK(ended.error().error_class == ErrorClass::kIo);
}

TEST_CASE("more connections than may wait are closed, those that wait are answered") {
  Desk desk({.request_ms = 10'000, .max_waiting = 1});
  const auto served = desk.come("g0");  // says nothing, so the server stays with it
  std::vector<std::unique_ptr<TlsStream>> more;
  for (int i = 0; i < 3; ++i) more.push_back(desk.come("g0"));
  // One waits at most, whether or not the server had taken the first when the others came.
  std::byte byte{};
  CHECK(read_exactly(*more.back(), std::span(&byte, 1), in_ms(5000)).error().error_class ==
        ErrorClass::kIo);
  CHECK(good(ask(*served, "late", in_ms(5000))) == "g0: late");
  desk.server.reset();  // does not wait for who is left
}

}  // namespace tracewise
