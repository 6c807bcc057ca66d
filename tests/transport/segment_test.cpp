// Shared memory: who holds a segment, what becomes of it when processes die, and when it isn't
// used.
#include "transport/segment.hpp"

#include <catch2/catch.hpp>
#include <iostream>

#include "messages/codec.hpp"
#include "tests/transport/exchange.hpp"
#include "tests/transport/other_process.hpp"
#include "transport/segment_pool.hpp"

namespace tracewise {
namespace {

// `weights` in a segment of `pool`, offered; a place that names it for this host.
WeightsReady offer(SegmentPool& pool, WeightsBuffer weights) {
  const auto storage = pool.allocate(weights.manifest.bytes);
  REQUIRE(storage);
  std::memcpy(storage.get(), weights.bytes.get(), weights.manifest.bytes);
  weights.bytes = storage;
  WeightsReady ready{weights.manifest, {}, {}};
  ready.place.host_id = own_host_id();
  ready.place.pid = ::getpid();
  ready.place.fd = pool.offer(weights);
  return ready;
}

Result<WeightsBuffer> map_segment(const WeightsReady& ready) {
  return SegmentReader().map(ready.manifest, ready.place);
}

ErrorClass error_of(const Result<WeightsBuffer>& mapped) {
  REQUIRE_FALSE(mapped.ok());
  return mapped.error().error_class;
}

WeightsReady ready_in(const std::string& text) {
  WeightsReady ready;
  good(decode(unhex(text), ready));
  return ready;
}

std::vector<std::string> named_shared_memory() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator("/dev/shm")) {
    names.push_back(entry.path());
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace

// Not a test: the receiver of the next one.
TEST_CASE("child: holds a segment", "[.]") {
  std::string line;
  std::getline(std::cin, line);
  const auto held = map_segment(ready_in(line));
  say(held.ok() ? "holds it" : held.error().message);
  ::pause();
}

TEST_CASE("a receiver that is killed while it holds a segment frees it") {
  Exchange exchange("shm", 0);
  exchange.sender.reset();
  NodeSenderOptions options;
  options.node = "head";
  options.host = "127.0.0.1";
  options.max_segments = 2;
  exchange.sender = good(make_node_sender(*exchange.door, options));

  const WeightsReady first = exchange.publish(version_of(1));
  OtherProcess holder("child: holds a segment", hex(good(encode(first))) + "\n");
  CHECK(holder.line() == "holds it");
  CHECK(exchange.publish(version_of(2)).place.pid != 0);
  // One segment is offered and the other held: version 3 goes without one.
  CHECK(exchange.publish(version_of(3)).place.pid == 0);
  CHECK(exchange.publish(version_of(4)).place.fd != first.place.fd);
  holder.kill();
  CHECK(exchange.publish(version_of(5)).place.fd == first.place.fd);
}

// Not a test: the sender of the next one.
TEST_CASE("child: offers a segment", "[.]") {
  SegmentPool pool(2);
  say(hex(good(encode(offer(pool, version_of(7))))));
  ::pause();
}

TEST_CASE("what a receiver holds outlives a sender that is killed, and nothing else does") {
  const auto names = named_shared_memory();
  OtherProcess sender("child: offers a segment", "");
  const WeightsReady ready = ready_in(sender.line());
  const WeightsBuffer held = good(map_segment(ready));
  sender.kill();
  CHECK(same(held, version_of(7)));
  CHECK(error_of(map_segment(ready)) == ErrorClass::kUnsupported);
  CHECK(named_shared_memory() == names);
}

TEST_CASE("a segment is used again once its last receiver has let go of it") {
  SegmentPool pool(3);
  const WeightsReady first = offer(pool, version_of(1));
  WeightsBuffer held = good(map_segment(first));
  WeightsBuffer twice = good(map_segment(first));
  const WeightsReady second = offer(pool, version_of(2));
  CHECK(second.place.fd != first.place.fd);
  held = {};
  const WeightsReady third = offer(pool, version_of(3));
  CHECK(third.place.fd != first.place.fd);
  CHECK(same(twice, version_of(1)));
  twice = {};
  // Second and first are free now: one of them is taken, the other given back.
  const auto storage = pool.allocate(100000);
  CHECK(pool.can_offer(storage.get()));
  const std::string names = "/proc/self/fd/";
  CHECK(std::filesystem::exists(names + std::to_string(first.place.fd)) !=
        std::filesystem::exists(names + std::to_string(second.place.fd)));
}

TEST_CASE(
    "a mapping that is used again shows the segment's new version, and only while it is held") {
  SegmentPool pool(1);
  SegmentReader reader;
  const WeightsReady first = offer(pool, version_of(1));
  const std::byte* const start = good(reader.map(first.manifest, first.place)).bytes.get();
  pool.withdraw();
  const WeightsReady second = offer(pool, version_of(2));
  CHECK(second.place.fd == first.place.fd);
  CHECK(error_of(reader.map(first.manifest, first.place)) == ErrorClass::kCancelled);
  const WeightsBuffer held = good(reader.map(second.manifest, second.place));
  CHECK(held.bytes.get() == start);
  CHECK(same(held, version_of(2)));
  CHECK_FALSE(pool.allocate(100000));
  CHECK_FALSE(good(reader.map(second.manifest, second.place)).bytes.get() == start);
}

TEST_CASE("storage that is still in use is not offered to others, nor written under a receiver") {
  SegmentPool pool(2);
  WeightsBuffer weights = version_of(1);
  const auto storage = pool.allocate(weights.manifest.bytes);
  std::memcpy(storage.get(), weights.bytes.get(), weights.manifest.bytes);
  weights.bytes = storage;
  WeightsReady ready{weights.manifest, {}, {}};
  ready.place.pid = ::getpid();
  ready.place.fd = pool.offer(weights);
  pool.withdraw();
  CHECK(pool.can_offer(storage.get()));  // nobody has it
  CHECK(error_of(map_segment(ready)) == ErrorClass::kCancelled);
  pool.offer(weights);
  const WeightsBuffer held = good(map_segment(ready));
  CHECK_FALSE(pool.can_offer(storage.get()));
  CHECK(pool.allocate(weights.manifest.bytes));  // the second
  CHECK(pool.allocate(weights.manifest.bytes));  // the second again: it was dropped
  const auto second = pool.allocate(weights.manifest.bytes);
  CHECK_FALSE(pool.allocate(weights.manifest.bytes));  // there is no third
  CHECK_FALSE(pool.can_offer(version_of(1).bytes.get()));
}

TEST_CASE("nobody but its sender can write a segment or change its size") {
  SegmentPool pool(1);
  const WeightsReady ready = offer(pool, version_of(1));
  const std::string path = "/proc/self/fd/" + std::to_string(ready.place.fd);
  const Fd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  REQUIRE(fd);
  CHECK(::pwrite(fd.get(), "x", 1, 5000) < 0);
  CHECK(::ftruncate(fd.get(), 100) < 0);
  CHECK(::ftruncate(fd.get(), 1 << 30) < 0);
  CHECK(same(good(map_segment(ready)), version_of(1)));
}

TEST_CASE("a descriptor that is no segment is not mapped") {
  SegmentPool pool(1);
  WeightsReady ready = offer(pool, version_of(1));
  const TempDir dir;
  const Fd file(::open(dir.put("file", std::string(200000, 'x')).c_str(), O_RDWR | O_CLOEXEC));
  ready.place.fd = file.get();
  CHECK(error_of(map_segment(ready)) == ErrorClass::kUnsupported);
  ready.place.fd = 1 << 20;
  CHECK(error_of(map_segment(ready)) == ErrorClass::kUnsupported);
}

TEST_CASE("a receiver of another host, or one that cannot open the segment, fetches over tcp") {
  Exchange exchange("shm");
  const WeightsBuffer weights = version_of(1);
  const WeightsReady ready = exchange.publish(weights);
  CHECK(ready.place.host_id == own_host_id());
  WeightsReady elsewhere = ready;
  elsewhere.place.host_id += "0";
  WeightsReady closed = ready;
  closed.place.fd = 1 << 20;
  for (const WeightsReady& wanted : {elsewhere, closed}) {
    const FetchedWeights got = good(exchange.receivers[0]->fetch(wanted, soon()));
    CHECK(got.transport == "tcp");
    CHECK(same(got.buffer, weights));
  }
  elsewhere.place.port = 0;
  const auto nowhere = exchange.receivers[0]->fetch(elsewhere, soon());
  REQUIRE_FALSE(nowhere.ok());
  CHECK(nowhere.error().message ==
        "weights version 1 of epoch 0 is offered nowhere that this node can reach");
}

TEST_CASE("spoilt content of a segment is never delivered, over tcp neither") {
  Exchange exchange("shm");
  const WeightsBuffer version = version_of(1);
  const auto storage = exchange.sender->allocate(version.manifest.bytes);
  std::memcpy(storage.get(), version.bytes.get(), version.manifest.bytes);
  WeightsReady ready = exchange.publish({version.manifest, storage});
  storage[50000] ^= std::byte{4};
  for (int i = 0; i < 2; ++i) {
    const auto got = exchange.receivers[0]->fetch(ready, soon());
    REQUIRE_FALSE(got.ok());
    CHECK(got.error().error_class == ErrorClass::kCorrupt);
    ready.place.pid = 0;
    ready.place.fd = -1;
  }
}

}  // namespace tracewise
