#include "learner/all_reduce_check.hpp"

#include <catch2/catch.hpp>

namespace tracewise {
namespace {

TEST_CASE("ranks that can add their numbers up are found to") {
  for (const size_t ranks : {2, 3}) {
    const auto checked = check_all_reduce(std::vector<std::string>(ranks, "cpu"), 20'000);
    INFO((checked.ok() ? std::string() : checked.error().message));
    REQUIRE(checked.ok());
    CHECK(checked->bytes == 4 << 20);
    CHECK(checked->seconds > 0);
  }
}

TEST_CASE("a device that is not there is an error, by the deadline") {
  const auto checked = check_all_reduce({"cpu", "none"}, 500);
  REQUIRE_FALSE(checked.ok());
  CHECK_FALSE(checked.error().message.empty());
}

}  // namespace
}  // namespace tracewise
