#include "transport/transport.hpp"

#include <catch2/catch.hpp>
#include <thread>

#include "transport/delivery.hpp"

namespace tracewise {
namespace {

using namespace std::chrono_literals;
using TimePoint = Transport::TimePoint;

const TimePoint kPast{};
TimePoint soon() { return std::chrono::steady_clock::now() + 30s; }

WeightsBuffer version_of(uint64_t version, uint64_t epoch = 0) {
  WeightsBuffer w;
  w.manifest.version = version;
  w.manifest.epoch = epoch;
  w.manifest.bytes = 4;
  w.manifest.checksum = 1000 + version;
  w.bytes = std::shared_ptr<const std::byte[]>(new std::byte[4]{std::byte(version)});
  return w;
}

// The contract that each transport has to keep; a new one is one line more.
std::unique_ptr<Transport> make(const std::string& name) {
  REQUIRE(name == "local");
  return make_local_transport();
}

TEST_CASE("a published version is fetched as it is, by any number of receivers") {
  const auto transport = make(GENERATE("local"));
  REQUIRE(transport->publish(version_of(3), soon()).ok());
  for (int receiver = 0; receiver < 2; ++receiver) {
    const auto got = transport->fetch(version_of(3).manifest, kPast);
    REQUIRE(got.ok());
    CHECK(got->manifest == version_of(3).manifest);
    CHECK(got->bytes[0] == std::byte(3));
  }
}

TEST_CASE("a fetch waits for its version and ends when it is published") {
  const auto transport = make(GENERATE("local"));
  CHECK(transport->fetch(version_of(1).manifest, kPast).error().error_class ==
        ErrorClass::kDeadline);
  bool published = false;
  std::thread learner([&] { published = transport->publish(version_of(1), soon()).ok(); });
  const bool fetched = transport->fetch(version_of(1).manifest, soon()).ok();
  learner.join();
  CHECK(published);
  CHECK(fetched);
}

TEST_CASE("a version that was replaced cannot be fetched any more") {
  const auto transport = make(GENERATE("local"));
  REQUIRE(transport->publish(version_of(1), soon()).ok());
  REQUIRE(transport->publish(version_of(2), soon()).ok());
  const auto old = transport->fetch(version_of(1).manifest, kPast);
  REQUIRE_FALSE(old.ok());
  CHECK(old.error().error_class == ErrorClass::kCancelled);
  CHECK(old.error().message ==
        "weights version 1 of epoch 0 was replaced by weights version 2 of epoch 0");
  CHECK(transport->fetch(version_of(2).manifest, kPast).ok());
}

TEST_CASE("a buffer with another checksum than announced is refused") {
  const auto transport = make(GENERATE("local"));
  REQUIRE(transport->publish(version_of(1), soon()).ok());
  WeightsManifest wanted = version_of(1).manifest;
  wanted.checksum += 1;
  CHECK(transport->fetch(wanted, kPast).error().error_class == ErrorClass::kCorrupt);
}

TEST_CASE("an aborted epoch ends the waits of its receivers and later ones go on") {
  const auto transport = make(GENERATE("local"));
  ErrorClass end = ErrorClass::kInternal;
  std::thread member(
      [&] { end = transport->fetch(version_of(1, 0).manifest, soon()).error().error_class; });
  transport->abort(0);
  member.join();
  CHECK(end == ErrorClass::kCancelled);
  CHECK(transport->publish(version_of(1, 0), soon()).error().error_class == ErrorClass::kCancelled);
  CHECK(transport->publish(version_of(1, 1), soon()).ok());
  CHECK(transport->fetch(version_of(1, 1).manifest, kPast).ok());
}

TEST_CASE("a version is delivered when every live receiver acknowledged it or a newer one") {
  DeliveryBook book;
  book.join(0);
  book.join(1);
  CHECK_FALSE(book.delivered(0));
  book.acknowledge({.version = 5, .epoch = 0, .generator = 0, .seconds = 0});
  CHECK_FALSE(book.delivered(5));
  // 5 was replaced before receiver 1 could fetch it.
  book.acknowledge({.version = 6, .epoch = 0, .generator = 1, .seconds = 0});
  CHECK(book.delivered(5));
  CHECK_FALSE(book.delivered(6));
  book.acknowledge({.version = 4, .epoch = 0, .generator = 1, .seconds = 0});  // overtaken
  CHECK(book.delivered(5));
  book.leave(0);
  CHECK(book.delivered(6));
  book.acknowledge({.version = 9, .epoch = 0, .generator = 0, .seconds = 0});  // has left
  CHECK_FALSE(book.delivered(7));
}

}  // namespace
}  // namespace tracewise
