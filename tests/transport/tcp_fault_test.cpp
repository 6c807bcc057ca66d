// A bad network between receiver and door: what arrives all the same, what travels twice, and when
// it ends.
#include <catch2/catch.hpp>
#include <thread>

#include "tests/tcp_proxy.hpp"
#include "tests/transport/exchange.hpp"

namespace tracewise {
namespace {

using Kind = ProxyFault::Kind;

constexpr uint64_t kChunks = 6;
constexpr uint64_t kChunkBytes = 4000;
// Header and content are a TLS record each: 5 bytes before, a type and a tag of 16 behind.
constexpr uint64_t kOnTheWire = kChunkHeaderBytes + kChunkBytes + 2 * 22;
// Of handshakes: signatures differ in length by a few bytes.
constexpr uint64_t kJitter = 12;

TcpReceiverOptions one_connection() {
  TcpReceiverOptions options = Exchange::small_chunks();
  options.connections = 1;
  options.chunk_bytes = kChunkBytes;
  return options;
}

WeightsBuffer six_chunks(uint64_t version) { return version_of(version, 0, kChunks * kChunkBytes); }

// 125 chunks of 16,000 bytes, far more than is asked for at a time.
WeightsBuffer long_version(uint64_t version) { return version_of(version, 0, 2000000); }

// A door with a proxy in front of it.
struct Faulty {
  explicit Faulty(const TcpReceiverOptions& options, const WeightsServerOptions& server = {})
      : exchange("tcp", 0, server),
        receiver(exchange.add_receiver(options)),
        proxy(exchange.door->port()) {}

  WeightsReady publish(const WeightsBuffer& weights) {
    WeightsReady ready = exchange.publish(weights);
    ready.place.port = proxy.port();
    return ready;
  }

  // The bytes that a connection to the receiver carries before the first chunk.
  uint64_t measure_start() {
    good(receiver.fetch(publish(six_chunks(1)), soon()));
    const uint64_t all = proxy.counts().back().to_client;
    REQUIRE(all > kChunks * kOnTheWire);
    return all - kChunks * kOnTheWire;
  }

  Exchange exchange;
  WeightsReceiver& receiver;
  TcpProxy proxy;
};

// Whether `bytes` are the start of a connection and `chunks` chunks.
bool carries(uint64_t bytes, uint64_t start, uint64_t chunks) {
  const uint64_t wanted = start + chunks * kOnTheWire;
  return bytes + kJitter >= wanted && bytes <= wanted + kJitter;
}

// In a thread of its own.
class Fetch {
 public:
  Fetch(WeightsReceiver& receiver, const WeightsReady& ready, TimePoint deadline)
      : thread_([this, &receiver, ready, deadline] { got_ = receiver.fetch(ready, deadline); }) {}
  const Result<FetchedWeights>& got() {
    if (thread_.joinable()) thread_.join();
    return got_;
  }

 private:
  Result<FetchedWeights> got_ = Error{};
  std::jthread thread_;
};

}  // namespace

TEST_CASE("a connection that breaks at any chunk goes on with the missing chunks alone") {
  const Kind kind = GENERATE(Kind::kCut, Kind::kEndWay, Kind::kStall);
  TcpReceiverOptions options = one_connection();
  options.stall_ms = 60;
  // A reset connection loses what the system has and the receiver has not read yet: without a pull
  // ahead that is never a whole chunk.
  if (kind == Kind::kCut) options.pulls_ahead = 1;
  Faulty faulty(options);
  const uint64_t start = faulty.measure_start();
  uint64_t version = 2;
  for (uint64_t chunk = 0; chunk < kChunks; ++chunk) {
    // Just behind the boundary before the chunk, between its header and content, in its middle,
    // and just before its end. A stall before anything came can also be a wait for the version.
    for (const uint64_t into : {kJitter, uint64_t{54}, uint64_t{2000}, kOnTheWire - kJitter}) {
      if (kind == Kind::kStall && (chunk == 0 || into == 2000)) continue;
      INFO("at byte " << into << " of chunk " << chunk);
      const WeightsBuffer weights = six_chunks(version++);
      const WeightsReady ready = faulty.publish(weights);
      faulty.proxy.plan({{kind, start + chunk * kOnTheWire + into}});
      const size_t before = faulty.proxy.counts().size();
      CHECK(same(good(faulty.receiver.fetch(ready, soon())).buffer, weights));
      const auto counts = faulty.proxy.counts();
      REQUIRE(counts.size() == before + 2);
      CHECK(carries(counts.back().to_client, start, kChunks - chunk));
    }
  }
}

TEST_CASE("a connection that is cut with pulls ahead of it loses no more than was asked for") {
  TcpReceiverOptions options = one_connection();
  options.pulls_ahead = 2;
  Faulty faulty(options);
  const uint64_t start = faulty.measure_start();
  for (uint64_t chunk = 0; chunk < kChunks; ++chunk) {
    const WeightsBuffer weights = six_chunks(2 + chunk);
    const WeightsReady ready = faulty.publish(weights);
    faulty.proxy.plan({{Kind::kCut, start + chunk * kOnTheWire + kJitter}});
    CHECK(same(good(faulty.receiver.fetch(ready, soon())).buffer, weights));
    const uint64_t again = std::min<uint64_t>(kChunks - chunk + 2, kChunks);
    CHECK(faulty.proxy.counts().back().to_client <= start + again * kOnTheWire + kJitter);
  }
}

TEST_CASE("a request that is cut on its way is made again") {
  Faulty faulty(one_connection());
  faulty.measure_start();
  const uint64_t to_server = faulty.proxy.counts().back().to_server;
  for (uint64_t back = 30; back < 400; back += 40) {
    const WeightsBuffer weights = six_chunks(100 + back);
    const WeightsReady ready = faulty.publish(weights);
    faulty.proxy.plan({{Kind::kCut, to_server - back, ProxyFault::Way::kToServer}});
    CHECK(same(good(faulty.receiver.fetch(ready, soon())).buffer, weights));
  }
}

TEST_CASE("in a black hole the deadline holds, wherever it begins") {
  TcpReceiverOptions options = one_connection();
  options.connect_ms = 50;
  options.stall_ms = 50;
  Faulty faulty(options);
  const uint64_t start = faulty.measure_start();
  const WeightsReady ready = faulty.publish(six_chunks(2));
  for (uint64_t chunk = 0; chunk <= kChunks; ++chunk) {
    const uint64_t behind = chunk == 0 ? 0 : start + chunk * kOnTheWire - kJitter;
    // The second connection and all after it swallow everything.
    std::deque<ProxyFault> faults(50, {Kind::kStall, 0});
    faults.front().after_bytes = behind;
    faulty.proxy.plan(faults);
    const TimePoint begun = std::chrono::steady_clock::now();
    const auto got = faulty.receiver.fetch(ready, in_ms(150));
    CHECK(ms_since(begun) >= 150);
    CHECK(ms_since(begun) < 1000);
    REQUIRE_FALSE(got.ok());
    CHECK(got.error().error_class == ErrorClass::kDeadline);
    const uint64_t here = chunk == 0 ? 0 : chunk - 1;
    CHECK_THAT(got.error().message, Catch::Contains(": " + std::to_string(here) +
                                                    " of 6 chunks arrived from 127.0.0.1"));
  }
}

TEST_CASE("a sender that goes away in mid-transfer is an error by the deadline") {
  Faulty faulty(Exchange::small_chunks());
  const WeightsBuffer weights = version_of(1);
  const FetchedWeights old = good(faulty.receiver.fetch(faulty.publish(weights), soon()));
  const WeightsReady ready = faulty.publish(long_version(2));
  const size_t before = faulty.proxy.counts().size();
  faulty.proxy.set_rate(100000);
  Fetch fetch(faulty.receiver, ready, in_ms(700));
  CHECK(eventually([&] {
    const auto counts = faulty.proxy.counts();
    return counts.size() > before && counts[before].to_client > 20000;
  }));
  faulty.exchange.sender.reset();
  faulty.exchange.door.reset();
  const auto& got = fetch.got();
  REQUIRE_FALSE(got.ok());
  CHECK(got.error().error_class == ErrorClass::kDeadline);
  CHECK_THAT(got.error().message,
             Catch::Contains("of 125 chunks arrived") && Catch::Contains("last: "));
  CHECK(same(old.buffer, weights));
}

TEST_CASE("a transfer goes on although its version is replaced, and ends at the next one") {
  Faulty faulty(Exchange::small_chunks());
  const uint64_t replacements = GENERATE(1, 2);
  const WeightsBuffer weights = long_version(1);
  const WeightsReady ready = faulty.publish(weights);
  faulty.proxy.set_rate(200000);
  Fetch fetch(faulty.receiver, ready, soon());
  CHECK(eventually([&] {
    const auto counts = faulty.proxy.counts();
    return !counts.empty() && counts[0].to_client > 20000;
  }));
  for (uint64_t v = 2; v < 2 + replacements; ++v) faulty.publish(version_of(v));
  faulty.proxy.cut_all();  // it comes back for the rest
  faulty.proxy.set_rate(0);
  const auto& got = fetch.got();
  if (replacements == 1) {
    CHECK(same(good(got).buffer, weights));
  } else {
    REQUIRE_FALSE(got.ok());
    CHECK(got.error().error_class == ErrorClass::kCancelled);
    CHECK_THAT(got.error().message, Catch::Contains("was replaced by weights version 3"));
  }
}

TEST_CASE("an abort on either side ends a transfer at once") {
  Faulty faulty(Exchange::small_chunks());
  const bool by_sender = GENERATE(true, false);
  const WeightsReady ready = faulty.publish(long_version(1));
  faulty.proxy.set_rate(50000);
  Fetch fetch(faulty.receiver, ready, soon());
  CHECK(eventually([&] {
    const auto counts = faulty.proxy.counts();
    return !counts.empty() && counts[0].to_client > 5000;
  }));
  const TimePoint begun = std::chrono::steady_clock::now();
  if (by_sender) {
    faulty.exchange.sender->abort(0);
    faulty.proxy.set_rate(0);
  } else {
    faulty.receiver.abort(0);
  }
  const auto& got = fetch.got();
  CHECK(ms_since(begun) < 1000);
  REQUIRE_FALSE(got.ok());
  CHECK(got.error().error_class == ErrorClass::kCancelled);
}

TEST_CASE("a slow receiver ends at its deadline and holds nobody up") {
  WeightsServerOptions server;
  server.threads = 1;
  Faulty faulty(Exchange::small_chunks(), server);
  const size_t bytes = size_t{8} << 20;  // more than the sockets between them hold
  TcpReceiverOptions large = Exchange::small_chunks();
  large.chunk_bytes = size_t{1} << 20;
  WeightsReceiver& slow = faulty.exchange.add_receiver(large);
  WeightsReceiver& quick = faulty.exchange.add_receiver(large);
  const WeightsBuffer weights = version_of(1, 0, bytes);
  const WeightsReady through_proxy = faulty.publish(weights);
  WeightsReady direct = through_proxy;
  direct.place.port = faulty.exchange.door->port();
  faulty.proxy.set_rate(100000);
  Fetch fetch(slow, through_proxy, in_ms(600));
  for (int i = 0; i < 5; ++i) {
    const TimePoint begun = std::chrono::steady_clock::now();
    CHECK(same(good(quick.fetch(direct, soon())).buffer, weights));
    CHECK(ms_since(begun) < 500);
  }
  REQUIRE_FALSE(fetch.got().ok());
  CHECK(fetch.got().error().error_class == ErrorClass::kDeadline);
}

TEST_CASE("more connections than the sender takes are closed, and come again") {
  WeightsServerOptions server;
  server.max_connections = 1;
  Faulty faulty(Exchange::small_chunks(), server);
  const WeightsBuffer weights = version_of(1);
  const WeightsReady ready = faulty.publish(weights);
  WeightsReceiver& other = faulty.exchange.add_receiver();
  Fetch fetch(faulty.receiver, ready, soon());
  CHECK(same(good(other.fetch(ready, soon())).buffer, weights));
  CHECK(same(good(fetch.got()).buffer, weights));
}

}  // namespace tracewise
