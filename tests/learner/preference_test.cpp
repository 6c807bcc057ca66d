#include "learner/preference.hpp"

#include <algorithm>
#include <catch2/catch.hpp>

#include "tests/learner/traced_samples.hpp"

namespace tracewise {

TEST_CASE("of two first steps the one with the larger gain is preferred") {
  // Gains of the first steps: .75 - .25 = .5 and .5 - .25 = .25.
  const std::vector<TracedRollout> group{traced(0, {{10, 11}, {12}}, {0.25f, 0.75f}, 1),
                                         traced(1, {{20}, {21}}, {0.25f, 0.5f}, 1)};
  const auto pairs = step_pairs(group, {0.1, 8});
  REQUIRE(pairs.size() == 1);
  CHECK(pairs[0] == StepPair{{1, 2}, {10, 11}, {20}, 0.25f});
}

TEST_CASE("a last step's gain ends at the reward") {
  const std::vector<TracedRollout> group{traced(0, {{10}}, {0.25f}, 1),
                                         traced(1, {{20}}, {0.25f}, 0)};
  const auto pairs = step_pairs(group, {0.1, 8});
  REQUIRE(pairs.size() == 1);
  CHECK(pairs[0] == StepPair{{1, 2}, {10}, {20}, 1.0f});
}

TEST_CASE("later steps are compared where the tokens before them agree, however they were split") {
  // Both have 10 11 before their last step: sample 0 as one step, sample 1 as two.
  const std::vector<TracedRollout> group{traced(0, {{10, 11}, {12}}, {0.5f, 0.5f}, 1),
                                         traced(1, {{10}, {11}, {13, 14}}, {0.5f, 0.5f, 0.5f}, 0)};
  const auto pairs = step_pairs(group, {0.1, 8});
  REQUIRE(pairs.size() == 1);
  CHECK(pairs[0] == StepPair{{1, 2, 10, 11}, {12}, {13, 14}, 1.0f});
}

TEST_CASE("later steps after different tokens are never compared") {
  const std::vector<TracedRollout> group{traced(0, {{10}, {12}}, {0.5f, 0.5f}, 1),
                                         traced(1, {{11}, {13}}, {0.5f, 0.5f}, 0)};
  CHECK(step_pairs(group, {0.1, 8}).empty());
}

TEST_CASE("equal steps after equal tokens are one step with the mean gain") {
  // Step 10: gains .5 and 0, mean .25. Step 20: gain -.25. Margin .5.
  const std::vector<TracedRollout> group{traced(0, {{10}}, {0.5f}, 1), traced(1, {{10}}, {0}, 0),
                                         traced(2, {{20}}, {0.25f}, 0)};
  const auto pairs = step_pairs(group, {0.1, 8});
  REQUIRE(pairs.size() == 1);
  CHECK(pairs[0] == StepPair{{1, 2}, {10}, {20}, 0.5f});
}

TEST_CASE("pairs below the least margin are left out and the largest margins come first") {
  // Gains 1, .75, .5, .45 by sample: margins 0-3 .55, 0-2 .5, 1-3 .3, 0-1 .25, 1-2 .25, 2-3 .05.
  const std::vector<TracedRollout> group{traced(0, {{10}}, {0}, 1), traced(1, {{11}}, {0.25f}, 1),
                                         traced(2, {{12}}, {0.5f}, 1),
                                         traced(3, {{13}}, {0.55f}, 1)};
  const auto pairs = step_pairs(group, {0.1, 8});
  REQUIRE(pairs.size() == 5);
  CHECK(pairs[0].rejected == std::vector<int32_t>{13});
  CHECK(pairs[0].margin == Approx(0.55f));
  CHECK(pairs[1].rejected == std::vector<int32_t>{12});
  // Equal margins: by the chosen step's tokens.
  CHECK(pairs[3].chosen == std::vector<int32_t>{10});
  CHECK(pairs[4].chosen == std::vector<int32_t>{11});

  const auto best = step_pairs(group, {0.1, 2});
  REQUIRE(best.size() == 2);
  CHECK(best[0] == pairs[0]);
  CHECK(best[1] == pairs[1]);
  CHECK(step_pairs(group, {0.1, 0}).empty());
}

TEST_CASE("failed rollouts and those without values take no part in pairs") {
  TracedRollout broken = traced(1, {{20}}, {0.25f}, 0);
  broken.rollout.failure = {FailureClass::kVerifierError, "for the test"};
  const std::vector<TracedRollout> group{traced(0, {{10}}, {0.25f}, 1), broken,
                                         traced(2, {{30}}, {}, 0)};
  CHECK(step_pairs(group, {0.1, 8}).empty());
}

TEST_CASE("pairs do not depend on the order in which rollouts arrived") {
  std::vector<TracedRollout> group{
      traced(0, {{10}, {12}}, {0.5f, 0.7f}, 1), traced(1, {{10}, {13}}, {0.4f, 0.3f}, 0),
      traced(2, {{11}, {12}}, {0.6f, 0.5f}, 1), traced(3, {{10}, {14}}, {0.1f, 0.2f}, 0)};
  const auto pairs = step_pairs(group, {0.01, 100});
  CHECK(pairs.size() == 4);
  std::ranges::reverse(group);
  CHECK(step_pairs(group, {0.01, 100}) == pairs);
  std::swap(group[0], group[2]);
  CHECK(step_pairs(group, {0.01, 100}) == pairs);
}

}  // namespace tracewise
