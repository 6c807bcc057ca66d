// What every transport keeps; a new one is a word more in each GENERATE and a branch in Exchange.
#include <catch2/catch.hpp>
#include <thread>

#include "tests/transport/exchange.hpp"

namespace tracewise {
namespace {

ErrorClass error_of(const Result<FetchedWeights>& fetched) {
  REQUIRE_FALSE(fetched.ok());
  return fetched.error().error_class;
}

// What carries the weights of an Exchange.
std::string carrier(const std::string& transport) {
  return transport == "sharded" ? "tcp" : transport;
}

}  // namespace

TEST_CASE("a published version is fetched as it is, by any number of receivers, and by late ones") {
  const std::string transport = GENERATE("local", "shm", "tcp", "sharded", "nccl");
  Exchange exchange(transport, 2);
  const WeightsBuffer version = version_of(3);
  const WeightsReady ready = exchange.publish(version);
  exchange.add_receiver();
  for (const auto& receiver : exchange.receivers) {
    const FetchedWeights got = good(receiver->fetch(ready, soon()));
    CHECK(same(got.buffer, version));
    CHECK(reinterpret_cast<uintptr_t>(got.buffer.bytes.get()) % 64 == 0);
    // Who was not there when a version was broadcast takes it another way.
    const bool late = transport == "nccl" && receiver == exchange.receivers.back();
    CHECK(got.transport == (late ? "tcp" : carrier(transport)));
  }
}

TEST_CASE("receivers fetch at the same time") {
  Exchange exchange(GENERATE("local", "shm", "tcp", "sharded", "nccl"), 4);
  const WeightsBuffer version = version_of(1);
  const WeightsReady ready = exchange.publish(version);
  std::vector<Result<FetchedWeights>> got(4, Error{});
  {
    std::vector<std::jthread> threads;
    for (size_t i = 0; i < 4; ++i) {
      threads.emplace_back([&, i] { got[i] = exchange.receivers[i]->fetch(ready, soon()); });
    }
  }
  for (auto& one : got) CHECK(same(good(std::move(one)).buffer, version));
}

TEST_CASE("a fetch waits for its version and ends when it is published") {
  Exchange exchange(GENERATE("local", "tcp", "nccl"));
  WeightsReady ready = exchange.publish(version_of(1));
  const WeightsBuffer next = version_of(2);
  ready.manifest = next.manifest;
  Result<FetchedWeights> got = Error{};
  std::thread member([&] { got = exchange.receivers[0]->fetch(ready, soon()); });
  exchange.publish(next);
  member.join();
  CHECK(same(good(std::move(got)).buffer, next));
}

TEST_CASE("a fetch of what is never published ends at its deadline") {
  Exchange exchange(GENERATE("local", "tcp", "nccl"));
  WeightsReady ready = exchange.publish(version_of(1));
  ready.manifest.version = 2;
  CHECK(error_of(exchange.receivers[0]->fetch(ready, kPast)) == ErrorClass::kDeadline);
  const TimePoint start = std::chrono::steady_clock::now();
  CHECK(error_of(exchange.receivers[0]->fetch(ready, in_ms(200))) == ErrorClass::kDeadline);
  CHECK(ms_since(start) >= 200);
  CHECK(ms_since(start) < 2000);
}

TEST_CASE("a version that was replaced cannot be fetched any more") {
  Exchange exchange(GENERATE("local", "shm", "tcp", "sharded", "nccl"));
  const WeightsReady old = exchange.publish(version_of(1));
  const WeightsBuffer version = version_of(2);
  const WeightsReady ready = exchange.publish(version);
  const auto refused = exchange.receivers[0]->fetch(old, soon());
  CHECK(error_of(refused) == ErrorClass::kCancelled);
  CHECK_THAT(refused.error().message, Catch::Contains("weights version 1 of epoch 0 was replaced"));
  CHECK(same(good(exchange.receivers[0]->fetch(ready, soon())).buffer, version));
}

TEST_CASE("a buffer with another checksum than announced is refused") {
  Exchange exchange(GENERATE("local", "shm", "tcp", "sharded", "nccl"));
  WeightsReady ready = exchange.publish(version_of(1));
  ready.manifest.checksum += 1;
  CHECK(error_of(exchange.receivers[0]->fetch(ready, soon())) == ErrorClass::kCorrupt);
}

TEST_CASE("content that isn't what its checksum says is never delivered") {
  Exchange exchange(GENERATE("shm", "tcp", "sharded", "nccl"));
  WeightsBuffer version = version_of(1);
  const auto spoilt = allocate_on_heap(version.manifest.bytes);
  std::memcpy(spoilt.get(), version.bytes.get(), version.manifest.bytes);
  spoilt[99999] ^= std::byte{1};
  version.bytes = spoilt;
  const WeightsReady ready = exchange.publish(version);
  CHECK(error_of(exchange.receivers[0]->fetch(ready, soon())) == ErrorClass::kCorrupt);
}

TEST_CASE("an aborted epoch ends the waits of its receivers and later ones go on") {
  Exchange exchange(GENERATE("local", "tcp", "nccl"), 2);
  WeightsReady ready = exchange.publish(version_of(1));
  ready.manifest.version = 2;
  std::vector<Result<FetchedWeights>> got(2, Error{});
  {
    std::vector<std::jthread> threads;
    for (size_t i = 0; i < 2; ++i) {
      threads.emplace_back([&, i] { got[i] = exchange.receivers[i]->fetch(ready, soon()); });
    }
    exchange.receivers[1]->abort(0);
    exchange.sender->abort(0);
  }
  for (const auto& one : got) CHECK(error_of(one) == ErrorClass::kCancelled);
}

TEST_CASE("a receiver that is ended leaves the others as they are") {
  Exchange exchange(GENERATE("local", "shm", "tcp", "sharded", "nccl"), 2);
  exchange.receivers[1]->abort(UINT64_MAX - 1);
  const WeightsBuffer version = version_of(1);
  const WeightsReady ready = exchange.publish(version);
  CHECK(error_of(exchange.receivers[1]->fetch(ready, soon())) == ErrorClass::kCancelled);
  CHECK(same(good(exchange.receivers[0]->fetch(ready, soon())).buffer, version));
}

TEST_CASE("nothing of an aborted epoch is published or fetched, and the next epoch is") {
  Exchange exchange(GENERATE("local", "shm", "tcp", "sharded", "nccl"), 2);
  const WeightsReady old = exchange.publish(version_of(1));
  exchange.abort(0);
  CHECK(error_of(exchange.receivers[0]->fetch(old, soon())) == ErrorClass::kCancelled);
  const auto refused = exchange.sender->publish(version_of(2), soon());
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().error_class == ErrorClass::kCancelled);
  const WeightsBuffer version = version_of(1, 1);
  const WeightsReady ready = exchange.publish(version);
  CHECK(same(good(exchange.receivers[0]->fetch(ready, soon())).buffer, version));
  exchange.receivers[1]->abort(1);
  CHECK(error_of(exchange.receivers[1]->fetch(ready, soon())) == ErrorClass::kCancelled);
}

TEST_CASE("a version that is in use stays as it is while others are published and fetched") {
  Exchange exchange(GENERATE("local", "shm", "tcp", "sharded", "nccl"), 2);
  std::vector<WeightsBuffer> in_use;
  for (uint64_t v = 1; v <= 5; ++v) {
    const WeightsReady ready = exchange.publish(version_of(v));
    in_use.push_back(good(exchange.receivers[0]->fetch(ready, soon())).buffer);
    // The other receiver lets go of each at once.
    CHECK(same(good(exchange.receivers[1]->fetch(ready, soon())).buffer, version_of(v)));
  }
  for (uint64_t v = 1; v <= 5; ++v) CHECK(same(in_use[v - 1], version_of(v)));
  exchange.receivers.clear();
  exchange.sender.reset();
  for (uint64_t v = 1; v <= 5; ++v) CHECK(same(in_use[v - 1], version_of(v)));
}

TEST_CASE("a version written into the sender's own storage is offered from there") {
  const std::string transport = GENERATE("local", "shm", "tcp", "sharded", "nccl");
  Exchange exchange(transport);
  for (uint64_t v = 1; v <= 4; ++v) {
    const WeightsBuffer version = version_of(v);
    const auto storage = exchange.sender->allocate(version.manifest.bytes);
    CHECK(reinterpret_cast<uintptr_t>(storage.get()) % 64 == 0);
    std::memcpy(storage.get(), version.bytes.get(), version.manifest.bytes);
    const WeightsReady ready = exchange.publish({version.manifest, storage});
    const FetchedWeights got = good(exchange.receivers[0]->fetch(ready, soon()));
    CHECK(same(got.buffer, version));
    CHECK(got.transport == carrier(transport));
  }
}

}  // namespace tracewise
