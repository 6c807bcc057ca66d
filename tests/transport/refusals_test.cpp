#include "transport/refusals.hpp"

#include <catch2/catch.hpp>
#include <vector>

namespace tracewise {

TEST_CASE(
    "refusals are all counted, and five a second told with the number of those that weren't") {
  std::vector<RefusalReport> told;
  RefusalBook book([&](const RefusalReport& report) { told.push_back(report); });
  const TimePoint start(std::chrono::seconds(100));
  for (int i = 0; i < 300; ++i) {
    book.add(Refusal::kTls, "10.0.0.7:1", "no", start + std::chrono::milliseconds(i));
  }
  CHECK(told.size() == 5);
  CHECK(told[4].untold == 0);
  book.add(Refusal::kLeft, "10.0.0.8:2", "gone", start + std::chrono::milliseconds(999));
  CHECK(told.size() == 5);
  book.add(Refusal::kLeft, "10.0.0.8:2", "gone", start + std::chrono::milliseconds(1000));
  REQUIRE(told.size() == 6);
  CHECK(told[5].why == Refusal::kLeft);
  CHECK(told[5].from == "10.0.0.8:2");
  CHECK(told[5].untold == 296);
  CHECK(book.counters().of(Refusal::kTls) == 300);
  CHECK(book.counters().of(Refusal::kLeft) == 2);
  CHECK(book.counters().accepted == 0);
}

}  // namespace tracewise
