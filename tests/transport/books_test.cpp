// The plain classes behind the transports.
#include <catch2/catch.hpp>

#include "tests/transport/exchange.hpp"
#include "transport/chunk_book.hpp"
#include "transport/door_book.hpp"
#include "transport/shelf.hpp"
#include "transport/spare_buffer.hpp"

namespace tracewise {
namespace {

const TimePoint kNow{};
const TimePoint kLater = kNow + std::chrono::seconds(10);

}  // namespace

TEST_CASE("chunks are taken in order, and those that were put back come first") {
  ChunkBook book(4, 3);
  CHECK(book.take() == 0);
  CHECK(book.take() == 1);
  CHECK(book.take() == 2);
  book.put_back(2);
  book.put_back(0);
  CHECK(book.take() == 0);
  CHECK(book.take() == 2);
  CHECK(book.take() == 3);
  CHECK_FALSE(book.take());
  for (uint64_t chunk = 0; chunk < 4; ++chunk) {
    CHECK_FALSE(book.complete());
    book.arrived(chunk);
  }
  CHECK(book.complete());
}

TEST_CASE("chunks are followed in order, each once, as far as they are here") {
  ChunkBook book(3, 3);
  for (int i = 0; i < 3; ++i) book.take();
  CHECK_FALSE(book.follow());
  book.arrived(1);
  CHECK_FALSE(book.follow());
  book.arrived(0);
  CHECK(book.follow() == 0);
  CHECK(book.follow() == 1);
  CHECK_FALSE(book.follow());
  book.arrived(2);
  CHECK(book.follow() == 2);
  CHECK_FALSE(book.follow());
}

TEST_CASE("doors are gone through in a ring until all are given up, and none counts twice") {
  WeightsReady wanted;
  wanted.others.resize(3);  // rank 0 has no door
  for (uint32_t i = 0; i < 3; ++i) {
    wanted.others[i].node = "n" + std::to_string(i);
    wanted.others[i].port = 100 + i;
  }
  DoorBook book(wanted);
  REQUIRE(book.size() == 3);
  CHECK(book.place(2).port == 102);
  CHECK(book.usable(1) == 1);
  CHECK(book.next(2) == 0);
  CHECK(book.give_up(1, corrupt("first")));
  CHECK(book.give_up(1, corrupt("second")));
  CHECK(book.usable(1) == 2);
  CHECK(book.next(0) == 2);
  CHECK(book.give_up(0, corrupt("third")));
  CHECK(book.next(2) == 2);  // alone
  book.gave(2, 40);
  book.gave(2, 8);
  CHECK(book.shares() == std::vector<WeightsShare>{{"n2", 48}});
  CHECK_FALSE(book.give_up(2, corrupt("fourth")));
  CHECK(book.usable(5) == 2);
  std::vector<std::string> why;
  for (const Error& complaint : book.complaints()) why.push_back(complaint.message);
  CHECK(why == std::vector<std::string>{"third", "first", "fourth"});
  CHECK(book.first_failure().message == "third");
}

TEST_CASE("a door that was left because it is slow is asked again when the others fail") {
  WeightsReady wanted;
  wanted.place.port = 100;
  wanted.others.resize(1);
  wanted.others[0].port = 101;
  DoorBook book(wanted);
  book.leave_slow(0, corrupt("slow"));
  CHECK_FALSE(book.is_good(0));
  CHECK(book.is_good(1));
  CHECK(book.next(0) == 1);
  CHECK(book.next(1) == 0);
  CHECK(book.give_up(1, corrupt("others")));
  CHECK(book.usable(1) == 0);
  CHECK(book.first_failure().message == "others");
  std::vector<std::string> why;
  for (const Error& complaint : book.complaints()) why.push_back(complaint.message);
  CHECK(why == std::vector<std::string>{"slow", "others"});
}

TEST_CASE("a checksum of pieces is that of the whole") {
  const auto bytes = pattern(100000, 1);
  Xxh3 pieces;
  CHECK(pieces.sum() == xxh3({}));
  pieces.add(std::span(bytes).first(33333));
  pieces.add(std::span(bytes).subspan(33333));
  CHECK(pieces.sum() == xxh3(bytes));
}

TEST_CASE("a chunk may come spoilt as often as was agreed, less one") {
  ChunkBook book(2, 2);
  CHECK(book.take() == 0);
  CHECK(book.take() == 1);
  CHECK(book.spoiled(0));
  CHECK(book.spoiled(1));
  CHECK(book.take() == 0);
  CHECK_FALSE(book.spoiled(0));
}

TEST_CASE("a chunk's place: the last one is what is left") {
  CHECK(chunk_count(0, 10) == 0);
  CHECK(chunk_count(20, 10) == 2);
  CHECK(chunk_count(21, 10) == 3);
  CHECK(chunk_size(21, 10, 1) == 10);
  CHECK(chunk_size(21, 10, 2) == 1);
}

TEST_CASE("a replaced version is kept until its last fetch says goodbye or its time is up") {
  Shelf shelf;
  WeightsBuffer first = version_of(1, 0, 100);
  const WeightsManifest wanted = first.manifest;
  const std::weak_ptr<const std::byte[]> alive = first.bytes;
  good(shelf.put(std::move(first), kNow));
  first = {};
  const TransferKey a{"g0", 1}, b{"g1", 1};
  CHECK(good(shelf.open(a, wanted, kLater, kNow)));
  CHECK(good(shelf.open(a, wanted, kLater, kNow)));  // its second connection
  CHECK(good(shelf.open(b, wanted, kLater, kNow)));
  good(shelf.put(version_of(2, 0, 100), kNow));
  shelf.close(a, false, kNow);  // broken: it may come back
  shelf.close(a, true, kNow);
  CHECK_FALSE(alive.expired());
  const bool broken = GENERATE(true, false);
  shelf.close(b, !broken, kNow);
  CHECK(alive.expired() == !broken);
  if (broken) CHECK(good(shelf.open(b, wanted, kLater, kNow)));
  if (broken) shelf.close(b, false, kLater);  // too late to come back
  CHECK(alive.expired());
  CHECK_FALSE(shelf.open(b, wanted, kLater, kNow).ok());
}

TEST_CASE("fetches of the second version before the newest end") {
  Shelf shelf;
  good(shelf.put(version_of(1, 0, 100), kNow));
  const auto first = good(shelf.open({"g0", 1}, version_of(1, 0, 100).manifest, kLater, kNow));
  good(shelf.put(version_of(2, 0, 100), kNow));
  CHECK_FALSE(first->ended);
  good(shelf.put(version_of(3, 0, 100), kNow));
  CHECK(first->ended);
  CHECK(shelf.why_ended(first->buffer.manifest).error_class == ErrorClass::kCancelled);
}

TEST_CASE("an aborted epoch ends what is sent of it, and a version yet to come is none") {
  Shelf shelf;
  good(shelf.put(version_of(1, 0, 100), kNow));
  const auto first = good(shelf.open({"g0", 1}, version_of(1, 0, 100).manifest, kLater, kNow));
  CHECK(good(shelf.open({"g1", 1}, version_of(2, 0, 100).manifest, kLater, kNow)) == nullptr);
  shelf.abort(0);
  CHECK(first->ended);
  CHECK(shelf.why_ended(first->buffer.manifest).message ==
        "weights version 1 of epoch 0 was aborted");
  CHECK_FALSE(shelf.put(version_of(2, 0, 100), kNow).ok());
}

TEST_CASE("memory that nobody uses any more is the next buffer, if it has the size") {
  auto spare = std::make_unique<SpareBuffer>();
  auto first = spare->take(1000);
  const auto second = spare->take(1000);
  std::byte* const start = first.get();
  CHECK(second.get() != start);
  first.reset();
  first = spare->take(1000);
  CHECK(first.get() == start);
  first.reset();
  CHECK(reinterpret_cast<uintptr_t>(spare->take(5000).get()) % 64 == 0);
  spare.reset();
  second[999] = std::byte{1};  // outlives it
}

}  // namespace tracewise
