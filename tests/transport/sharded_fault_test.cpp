// A version at the doors of two ranks: who gives what, and what happens when one of them fails.
#include <catch2/catch.hpp>

#include "tests/tcp_proxy.hpp"
#include "tests/transport/exchange.hpp"

namespace tracewise {
namespace {

using Kind = ProxyFault::Kind;

constexpr uint64_t kBytes = 2000000;  // 125 chunks of 16,000

// The ways to both lead through proxies.
struct TwoDoors {
  explicit TwoDoors(const TcpReceiverOptions& options = Exchange::small_chunks())
      : exchange("sharded", 0),
        receiver(exchange.add_receiver(options)),
        head(exchange.door->port()),
        proxy(exchange.rank_door->port()) {}

  // Rank 0 gives a version in a second: rank 1 has its part however late it begins.
  void slow_down_head() { head.set_rate(kBytes); }

  WeightsReady publish(const WeightsBuffer& weights) {
    return through_proxy(exchange.publish(weights));
  }

  // Rank 1 offers `other` where rank 0 has announced `weights`.
  WeightsReady publish(const WeightsBuffer& weights, const WeightsBuffer& other) {
    WeightsReady ready{weights.manifest, good(exchange.sender->publish(weights, soon())), {}};
    ready.others.push_back(good(exchange.rank_sender->publish(other, soon())));
    return through_proxy(std::move(ready));
  }

  WeightsReady through_proxy(WeightsReady ready) const {
    ready.place.port = head.port();
    ready.others[0].port = proxy.port();
    return ready;
  }

  Exchange exchange;
  WeightsReceiver& receiver;
  TcpProxy head;
  TcpProxy proxy;  // rank 1's
};

uint64_t given_by(const FetchedWeights& got, const std::string& node) {
  uint64_t bytes = 0;
  for (const WeightsShare& share : got.shares) bytes += share.node == node ? share.bytes : 0;
  return bytes;
}

WeightsBuffer with_byte_changed(const WeightsBuffer& weights, size_t at) {
  const auto bytes = allocate_on_heap(weights.manifest.bytes);
  std::memcpy(bytes.get(), weights.bytes.get(), weights.manifest.bytes);
  bytes[at] ^= std::byte{1};
  return {weights.manifest, bytes};
}

TEST_CASE("each of two doors gives its part, and together they give every chunk once") {
  TwoDoors two;
  two.slow_down_head();
  two.proxy.set_rate(kBytes);
  const WeightsBuffer weights = version_of(1, 0, kBytes);
  const FetchedWeights got = good(two.receiver.fetch(two.publish(weights), soon()));
  CHECK(same(got.buffer, weights));
  CHECK(given_by(got, "head") > 0);
  CHECK(given_by(got, "rank1") > 0);
  CHECK(given_by(got, "head") + given_by(got, "rank1") == kBytes);
  CHECK(got.warnings.empty());
}

TEST_CASE("a door that dies at any point is replaced by the other") {
  TwoDoors two;
  uint64_t version = 1;
  // Before, in, and behind the handshakes, and at boundaries of its first chunks.
  for (const uint64_t after : {0, 500, 3000, 16000, 20000, 32100, 48200, 100000}) {
    INFO(after);
    const WeightsBuffer weights = version_of(version++, 0, kBytes);
    const WeightsReady ready = two.publish(weights);
    two.proxy.plan(std::deque<ProxyFault>(50, {Kind::kCut, after}));
    const FetchedWeights got = good(two.receiver.fetch(ready, soon()));
    CHECK(same(got.buffer, weights));
    CHECK(given_by(got, "head") + given_by(got, "rank1") == kBytes);
  }
}

TEST_CASE("a door that nobody listens at any more leaves everything to the other") {
  TwoDoors two;
  const WeightsBuffer weights = version_of(1, 0, kBytes);
  const bool head_dies = GENERATE(true, false);
  const WeightsReady ready = two.exchange.publish(weights);
  (head_dies ? two.exchange.sender : two.exchange.rank_sender).reset();
  (head_dies ? two.exchange.door : two.exchange.rank_door).reset();
  const FetchedWeights got = good(two.receiver.fetch(ready, soon()));
  CHECK(same(got.buffer, weights));
  CHECK(given_by(got, head_dies ? "rank1" : "head") == kBytes);
}

TEST_CASE("a door that serves other bytes is named, and nothing of them is taken") {
  TwoDoors two;
  two.slow_down_head();
  const WeightsBuffer weights = version_of(1, 0, kBytes);
  // All of rank 1's bytes are others: whichever chunk it is asked for.
  WeightsBuffer other = version_of(2, 0, kBytes);
  other.manifest = weights.manifest;
  const FetchedWeights got = good(two.receiver.fetch(two.publish(weights, other), soon()));
  CHECK(same(got.buffer, weights));
  CHECK(given_by(got, "head") == kBytes);
  REQUIRE(got.warnings.size() == 1);
  CHECK_THAT(got.warnings[0],
             Catch::StartsWith("node 'rank1' gave chunk ") &&
                 Catch::EndsWith(" of weights version 1 of epoch 0 with other bytes than were "
                                 "announced"));
}

TEST_CASE("bytes that no door has right are an error, not a version") {
  TwoDoors two;
  const WeightsBuffer weights = version_of(1, 0, kBytes);
  WeightsReady ready = two.publish(weights, with_byte_changed(weights, 1'600'005));
  ready.place.chunk_checksums[100] ^= 1;  // what was announced of this chunk nobody has
  const auto got = two.receiver.fetch(ready, soon());
  REQUIRE_FALSE(got.ok());
  CHECK(got.error().error_class == ErrorClass::kCorrupt);
  CHECK(got.error().message ==
        "node 'head' gave chunk 100 of weights version 1 of epoch 0 with other bytes than were "
        "announced");
}

TEST_CASE("a door with another version, older or newer, does not hold up the fetch") {
  TcpReceiverOptions options = Exchange::small_chunks();
  options.slow_ms = 50;
  TwoDoors two(options);
  const bool newer = GENERATE(true, false);
  two.slow_down_head();
  const WeightsBuffer weights = version_of(5, 0, kBytes);
  const WeightsReady ready = two.publish(weights, version_of(newer ? 6 : 4, 0, kBytes));
  const TimePoint begun = std::chrono::steady_clock::now();
  const FetchedWeights got = good(two.receiver.fetch(ready, soon()));
  CHECK(ms_since(begun) < 5000);
  CHECK(same(got.buffer, weights));
  CHECK(given_by(got, "head") == kBytes);
  REQUIRE(got.warnings.size() == 1);
  CHECK_THAT(got.warnings[0],
             newer ? Catch::Contains("node 'rank1': weights version 5 of epoch 0 was replaced by")
                   : Catch::Contains("node 'rank1' was too slow to give weights version 5"));
}

TEST_CASE("what a door that stands still owes is taken over by the other") {
  TcpReceiverOptions options = Exchange::small_chunks();
  options.slow_ms = 50;
  options.connections = GENERATE(2, 4);
  TwoDoors two(options);
  two.slow_down_head();
  const WeightsBuffer weights = version_of(1, 0, kBytes);
  const WeightsReady ready = two.publish(weights);
  two.proxy.plan(std::deque<ProxyFault>(50, {Kind::kStall, 40000}));
  const TimePoint begun = std::chrono::steady_clock::now();
  const FetchedWeights got = good(two.receiver.fetch(ready, soon()));
  CHECK(ms_since(begun) < 5000);  // far from the stall's 10 s
  CHECK(same(got.buffer, weights));
  CHECK(given_by(got, "rank1") < 160000);
  REQUIRE(got.warnings.size() == 1);
  CHECK_THAT(got.warnings[0], Catch::Contains("node 'rank1' was too slow"));
}

TEST_CASE("when all doors fail the first one's reason is told") {
  TwoDoors two;
  const WeightsBuffer weights = version_of(1, 0, kBytes);
  const WeightsReady ready = two.publish(weights);
  two.publish(version_of(2));
  const auto got = two.receiver.fetch(ready, soon());
  REQUIRE_FALSE(got.ok());
  CHECK(got.error().error_class == ErrorClass::kCancelled);
  CHECK_THAT(got.error().message, Catch::StartsWith("node 'head': weights version 1"));
}

TEST_CASE("shared memory of either rank is nearer than any door") {
  const RunOfNodes run;
  DoorOptions options;
  options.address = "127.0.0.1";
  const auto door = good(Door::open(options, run.context("rank1"), RunOfNodes::hello("rank1")));
  NodeSenderOptions sending;
  sending.node = "rank1";
  sending.host = "127.0.0.1";
  const auto sender = good(make_node_sender(*door, sending));
  const WeightsBuffer weights = version_of(1);
  WeightsReady ready{weights.manifest, {}, {good(sender->publish(weights, soon()))}};
  ready.place.node = "head";  // on another host
  ready.place.port = 1;
  const auto receiver = make_node_receiver(run.context("g0"), RunOfNodes::hello("g0"));
  const FetchedWeights got = good(receiver->fetch(ready, soon()));
  CHECK(same(got.buffer, weights));
  CHECK(got.transport == "shm");
}

}  // namespace
}  // namespace tracewise
