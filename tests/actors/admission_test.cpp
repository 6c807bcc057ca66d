#include "actors/admission.hpp"

#include <catch2/catch.hpp>
#include <limits>

#include "actors/run_options.hpp"
#include "actors/train_clock.hpp"

namespace tracewise {
namespace {

TEST_CASE("synchronous training issues exactly the groups of the next batch") {
  // version 0, batches of 4: groups 0..3, then nothing until version 1 is there.
  CHECK(may_issue(0, 0, 0, 4));
  CHECK(may_issue(3, 0, 0, 4));
  CHECK_FALSE(may_issue(4, 0, 0, 4));
  CHECK(may_issue(4, 1, 0, 4));
  CHECK(may_issue(7, 1, 0, 4));
  CHECK_FALSE(may_issue(8, 1, 0, 4));
}

TEST_CASE("each version of staleness lets one more batch be on its way") {
  // max_staleness 2: (0 + 1 + 2) * 4 = 12 groups before the first commit.
  CHECK(may_issue(11, 0, 2, 4));
  CHECK_FALSE(may_issue(12, 0, 2, 4));
  CHECK(issue_limit(5, 2, 4) == 32);
}

TEST_CASE("a limit beyond 64 bits saturates instead of wrapping") {
  constexpr uint64_t kMax = std::numeric_limits<uint64_t>::max();
  CHECK(issue_limit(3, kMax, 4) == kMax);
  CHECK(issue_limit(kMax - 1, 0, 4) == kMax);
  CHECK(issue_limit(0, 0, 0) == 0);
}

TEST_CASE("a group one version too old is stale, one just old enough is not") {
  CHECK_FALSE(is_stale(5, 5, 0));
  CHECK(is_stale(4, 5, 0));
  CHECK_FALSE(is_stale(3, 5, 2));
  CHECK(is_stale(2, 5, 2));
  CHECK_FALSE(is_stale(6, 5, 0));  // newer than the learner: not old
}

TEST_CASE("the training clock counts only the time between start and pause") {
  using std::chrono::milliseconds;
  const TrainClock::TimePoint t0{};
  TrainClock clock(10.0);
  CHECK(clock.seconds(t0 + milliseconds(500)) == 10.0);
  clock.start(t0 + milliseconds(1000));
  clock.start(t0 + milliseconds(2000));  // running already: changes nothing
  CHECK(clock.seconds(t0 + milliseconds(2500)) == Approx(11.5));
  clock.pause(t0 + milliseconds(3000));
  CHECK(clock.seconds(t0 + milliseconds(9000)) == Approx(12.0));
  clock.start(t0 + milliseconds(9000));
  CHECK(clock.seconds(t0 + milliseconds(9250)) == Approx(12.25));
}

TEST_CASE("progress is the larger share of the steps and of the seconds") {
  RunOptions options;
  CHECK(run_progress(options, 50, 50) == 0);  // no limit: no progress
  options.steps = 200;
  CHECK(run_progress(options, 50, 1e6) == 0.25);
  options.budget_seconds = 100;
  CHECK(run_progress(options, 50, 40) == 0.4);
  CHECK(run_progress(options, 50, 400) == 1.0);
}

TEST_CASE("an option out of range is named with its value") {
  RunOptions options;
  CHECK(check(options).ok());
  options.groups_per_batch = 0;
  REQUIRE_FALSE(check(options).ok());
  CHECK(check(options).error().message.find("groups_per_batch = 0") != std::string::npos);
  options.groups_per_batch = 1;
  options.max_staleness = 65;
  REQUIRE_FALSE(check(options).ok());
  CHECK(check(options).error().message == "max_staleness = 65 is out of range: at most 64");
  options.max_staleness = 64;
  options.eval.sampling.top_p = 0;
  CHECK(check(options).error().message.find("eval.sampling.top_p = 0") != std::string::npos);
  options.eval.sampling.top_p = 1;
  options.eval.at_seconds = {2, 1};
  CHECK(check(options).error().message == "eval.at_seconds is not ascending");
}

}  // namespace
}  // namespace tracewise
