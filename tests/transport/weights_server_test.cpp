// Both ends of the pulls, each against one that a test speaks by hand.
#include "transport/weights_server.hpp"

#include <catch2/catch.hpp>
#include <map>
#include <thread>

#include "messages/codec.hpp"
#include "tests/transport/exchange.hpp"
#include "transport/chunk_wire.hpp"
#include "transport/hello.hpp"

namespace tracewise {
namespace {

struct Answer {
  ChunkHeader header;
  std::vector<std::byte> content;
  std::string text() const {
    return {reinterpret_cast<const char*>(content.data()), content.size()};
  }
};

// A receiver's connection, without a receiver.
class Puller {
 public:
  Puller(const Exchange& exchange, uint64_t transfer) : transfer_(transfer) {
    stream_ = good(dial("127.0.0.1", exchange.door->port(), exchange.run.context("g0"),
                        RunOfNodes::hello("g0", Channel::kWeights), "head", in_ms(5000)));
  }
  void ask(const WeightsManifest& wanted, uint64_t chunk, uint64_t deadline_ms = 10000) {
    send(good(encode(WeightsPull{wanted.version, wanted.epoch, wanted.bytes, wanted.checksum,
                                 transfer_, chunk, 16000, deadline_ms})));
  }
  void send(const std::string& message) {
    good(write_all(*stream_, bytes_of(framed(message)), in_ms(5000)));
  }
  Answer answer() {
    std::array<std::byte, kChunkHeaderBytes> header;
    good(read_exactly(*stream_, header, in_ms(5000)));
    Answer out{good(chunk_header(header)), {}};
    out.content.resize(out.header.bytes);
    good(read_exactly(*stream_, out.content, in_ms(5000)));
    CHECK(out.header.checksum == xxh3(out.content));
    return out;
  }
  Answer pull(const WeightsManifest& wanted, uint64_t chunk) {
    ask(wanted, chunk);
    return answer();
  }
  // Whether the sender ends the connection, within 5 s.
  bool ended() {
    std::array<std::byte, 1> byte;
    const auto read = read_exactly(*stream_, byte, in_ms(5000));
    return !read.ok() && read.error().error_class == ErrorClass::kIo;
  }
  // What it may hold unread; without it a loopback connection holds many MB.
  void narrow() {
    const int bytes = 1 << 16;
    REQUIRE(::setsockopt(stream_->fd(), SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes) == 0);
  }
  void say_goodbye() { stream_->shut_down(); }

 private:
  uint64_t transfer_;
  std::unique_ptr<TlsStream> stream_;
};

// Answers pulls of `weights`, and spoils what it is told to.
class Spoiler {
 public:
  Spoiler(Exchange& exchange, WeightsBuffer weights, uint64_t chunk, int times)
      : weights_(std::move(weights)), chunk_(chunk), times_(times) {
    exchange.sender.reset();
    exchange.door->serve(
        Channel::kWeights, [this](std::unique_ptr<TlsStream> stream, const Hello&) {
          const std::lock_guard lock(mutex_);
          threads_.emplace_back(
              [this, taken = std::shared_ptr<TlsStream>(std::move(stream))] { serve(*taken); });
        });
  }
  int pulls(uint64_t chunk) {
    const std::lock_guard lock(mutex_);
    return pulls_[chunk];
  }
  uint64_t shift = 0;  // added to the chunk that a header names

 private:
  void serve(TlsStream& stream) {
    for (;;) {
      std::array<std::byte, kHelloPrefixBytes> prefix;
      if (!read_exactly(stream, prefix, in_ms(5000)).ok()) return;
      std::string message(*framed_bytes(prefix), '\0');
      if (!read_exactly(stream, std::as_writable_bytes(std::span(message)), in_ms(5000)).ok())
        return;
      WeightsPull pull;
      if (!decode(message, pull).ok()) return;
      const uint64_t size = chunk_size(pull.bytes, pull.chunk_bytes, pull.chunk);
      const std::byte* from = weights_.bytes.get() + pull.chunk * pull.chunk_bytes;
      std::vector<std::byte> content(from, from + size);
      const auto header = to_bytes({std::nullopt, pull.chunk + shift, size, xxh3(content)});
      {
        const std::lock_guard lock(mutex_);
        if (++pulls_[pull.chunk] <= times_ && pull.chunk == chunk_) content[7] ^= std::byte{1};
      }
      if (!write_all(stream, header, in_ms(5000)).ok()) return;
      if (!write_all(stream, content, in_ms(5000)).ok()) return;
    }
  }

  const WeightsBuffer weights_;
  const uint64_t chunk_;
  const int times_;
  std::mutex mutex_;
  std::map<uint64_t, int> pulls_;
  std::vector<std::jthread> threads_;
};

}  // namespace

TEST_CASE("a chunk is answered with its bytes and their checksum, the last one shorter") {
  Exchange exchange("tcp");
  const WeightsBuffer weights = version_of(1);
  const WeightsManifest manifest = exchange.publish(weights).manifest;
  Puller puller(exchange, 1);
  puller.ask(manifest, 6);  // asked for ahead of the answers
  puller.ask(manifest, 1);
  const Answer last = puller.answer();
  CHECK(last.header.chunk == 6);
  CHECK(last.header.bytes == 4000);  // 100,000 - 6 * 16,000
  CHECK(std::memcmp(last.content.data(), weights.bytes.get() + 96000, 4000) == 0);
  const Answer second = puller.answer();
  CHECK(second.header.chunk == 1);
  CHECK(std::memcmp(second.content.data(), weights.bytes.get() + 16000, 16000) == 0);
}

TEST_CASE("who began with a version gets the rest of it until the second that comes after it") {
  Exchange exchange("tcp");
  const WeightsManifest first = exchange.publish(version_of(1)).manifest;
  Puller puller(exchange, 1);
  CHECK_FALSE(puller.pull(first, 0).header.refusal);
  const WeightsManifest second = exchange.publish(version_of(2)).manifest;
  CHECK_FALSE(puller.pull(first, 1).header.refusal);

  Puller same_fetch(exchange, 1);
  CHECK_FALSE(same_fetch.pull(first, 2).header.refusal);
  Puller late(exchange, 2);
  const Answer refused = late.pull(first, 0);
  CHECK(refused.header.refusal == ErrorClass::kCancelled);
  CHECK(refused.text() ==
        "weights version 1 of epoch 0 was replaced by weights version 2 of epoch 0");
  CHECK_FALSE(late.pull(second, 0).header.refusal);

  exchange.publish(version_of(3));
  CHECK(puller.pull(first, 2).header.refusal == ErrorClass::kCancelled);
  CHECK_FALSE(late.pull(second, 1).header.refusal);
}

TEST_CASE("a stopped receiver keeps a replaced version alive until its deadline, and not longer") {
  Exchange exchange("tcp");
  WeightsBuffer first = version_of(1, 0, size_t{16} << 20);
  const std::weak_ptr<const std::byte[]> alive = first.bytes;
  const WeightsManifest manifest = exchange.publish(first).manifest;
  first.bytes.reset();
  Puller stopped(exchange, 1);
  const bool early = GENERATE(true, false);
  // 1,000 chunks that nobody reads fill the sockets.
  stopped.narrow();
  for (uint64_t i = 0; i < 1000; ++i) stopped.ask(manifest, i, 400);
  Puller other(exchange, 2);
  CHECK_FALSE(other.pull(manifest, 0).header.refusal);
  exchange.publish(version_of(2));
  CHECK_FALSE(alive.expired());
  other.say_goodbye();
  if (early) exchange.publish(version_of(3));
  CHECK(eventually([&] { return alive.expired(); }));
}

TEST_CASE("a receiver that says nothing is closed") {
  WeightsServerOptions server;
  server.idle_ms = 50;
  Exchange exchange("tcp", 0, server);
  Puller silent(exchange, 1);
  CHECK(silent.ended());
}

TEST_CASE("words that are no pull end the connection with the reason") {
  Exchange exchange("tcp");
  const WeightsManifest manifest = exchange.publish(version_of(1)).manifest;
  Puller beyond(exchange, 1);
  beyond.ask(manifest, 7);
  const Answer refused = beyond.answer();
  CHECK(refused.header.refusal == ErrorClass::kCorrupt);
  CHECK(refused.text() == "WeightsPull.chunk: is 7 of 7 in a buffer of 100000 bytes");
  CHECK(beyond.ended());
  Puller garbage(exchange, 2);
  garbage.send("\xff\xff\xff");
  CHECK(garbage.answer().header.refusal == ErrorClass::kCorrupt);
  CHECK(garbage.ended());
  Puller two(exchange, 3);
  CHECK_FALSE(two.pull(manifest, 0).header.refusal);
  WeightsManifest another = manifest;
  another.version = 9;
  CHECK(two.pull(another, 0).header.refusal == ErrorClass::kBadInput);
}

TEST_CASE("a chunk that comes spoilt is fetched again, and refused at the third time") {
  Exchange exchange("tcp");
  WeightsReady ready = exchange.publish(version_of(1));
  const int times = GENERATE(1, 2, 3);
  Spoiler spoiler(exchange, version_of(1), 4, times);
  const auto got = exchange.receivers[0]->fetch(ready, soon());
  CHECK(spoiler.pulls(4) == std::min(times + 1, 3));
  if (times < 3) {
    CHECK(same(good(got).buffer, version_of(1)));
    CHECK(spoiler.pulls(3) == 1);
  } else {
    REQUIRE_FALSE(got.ok());
    CHECK(got.error().error_class == ErrorClass::kCorrupt);
    CHECK(got.error().message ==
          "chunk 4 of weights version 1 of epoch 0 came with a wrong checksum 3 times");
  }
  exchange.door->stop_serving(Channel::kWeights);
}

TEST_CASE("an answer to another question ends the fetch") {
  Exchange exchange("tcp");
  const WeightsReady ready = exchange.publish(version_of(1));
  Spoiler spoiler(exchange, version_of(1), 0, 0);
  spoiler.shift = 1;
  const auto got = exchange.receivers[0]->fetch(ready, soon());
  REQUIRE_FALSE(got.ok());
  CHECK(got.error().error_class == ErrorClass::kCorrupt);
  exchange.door->stop_serving(Channel::kWeights);
}

TEST_CASE("a receiver whose channel nobody serves asks again until its deadline, and says why") {
  Exchange exchange("tcp");
  const WeightsReady ready = exchange.publish(version_of(1));
  exchange.sender.reset();
  const auto got = exchange.receivers[0]->fetch(ready, in_ms(300));
  REQUIRE_FALSE(got.ok());
  CHECK(got.error().error_class == ErrorClass::kDeadline);
  CHECK_THAT(got.error().message, Catch::Contains("does not serve the channel 'weights' now"));
}

TEST_CASE("a chunk's header comes back from its bytes, and nothing else is one") {
  const ChunkHeader chunk{std::nullopt, 3, uint64_t{1} << 40, 0x0123456789abcdefu};
  CHECK(good(chunk_header(to_bytes(chunk))) == chunk);
  const ChunkHeader refusal{ErrorClass::kInternal, 3, 2048, 1};
  CHECK(good(chunk_header(to_bytes(refusal))) == refusal);
  auto bytes = to_bytes(refusal);
  bytes[16] = std::byte{1};  // 2,049 bytes
  CHECK_FALSE(chunk_header(bytes).ok());
  bytes = to_bytes(chunk);
  bytes[4] = std::byte{9};  // no such error
  CHECK_FALSE(chunk_header(bytes).ok());
  bytes = to_bytes(chunk);
  bytes[0] ^= std::byte{1};
  CHECK_FALSE(chunk_header(bytes).ok());
}

}  // namespace tracewise
