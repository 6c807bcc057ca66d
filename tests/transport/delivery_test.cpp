#include "transport/delivery.hpp"

#include <catch2/catch.hpp>

namespace tracewise {
namespace {

TEST_CASE("a version is delivered when every live receiver acknowledged it or a newer one") {
  DeliveryBook book;
  book.join(0);
  book.join(1);
  CHECK_FALSE(book.delivered(0));
  book.acknowledge(
      {.version = 5, .epoch = 0, .generator = 0, .seconds = 0, .transport = "local", .shares = {}});
  CHECK_FALSE(book.delivered(5));
  // 5 was replaced before receiver 1 could fetch it.
  book.acknowledge(
      {.version = 6, .epoch = 0, .generator = 1, .seconds = 0, .transport = "local", .shares = {}});
  CHECK(book.delivered(5));
  CHECK_FALSE(book.delivered(6));
  book.acknowledge({.version = 4,
                    .epoch = 0,
                    .generator = 1,
                    .seconds = 0,
                    .transport = "local",
                    .shares = {}});  // overtaken
  CHECK(book.delivered(5));
  book.leave(0);
  CHECK(book.delivered(6));
  book.acknowledge({.version = 9,
                    .epoch = 0,
                    .generator = 0,
                    .seconds = 0,
                    .transport = "local",
                    .shares = {}});  // has left
  CHECK_FALSE(book.delivered(7));
}

}  // namespace
}  // namespace tracewise
