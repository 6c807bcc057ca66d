#include "actors/batch_buffer.hpp"

#include <catch2/catch.hpp>
#include <set>

#include "actors/prompt_order.hpp"

namespace tracewise {
namespace {

SampleGroup group_of(uint64_t group, uint64_t issue_version, uint32_t attempt = 0) {
  SampleGroup g;
  g.key = {group, attempt};
  g.issue_version = issue_version;
  return g;
}

std::vector<uint64_t> ids(const std::vector<SampleGroup>& groups) {
  std::vector<uint64_t> ids;
  for (const SampleGroup& g : groups) ids.push_back(g.key.group);
  return ids;
}

SampleGroup trainable(uint64_t group, uint64_t issue_version = 0) {
  SampleGroup g = group_of(group, issue_version);
  g.rollouts.emplace_back();
  return g;
}

using Put = BatchBuffer::Put;

TEST_CASE("a synchronous batch is the next groups by id, whatever order they arrive in") {
  BatchBuffer buffer({.groups_per_batch = 3, .max_staleness = 0});
  CHECK(buffer.put(group_of(2, 0), 0) == Put::kTaken);
  CHECK(buffer.put(group_of(0, 0), 0) == Put::kTaken);
  CHECK_FALSE(buffer.ready());
  CHECK(buffer.put(group_of(1, 0), 0) == Put::kTaken);
  REQUIRE(buffer.ready());
  CHECK(ids(buffer.take()) == std::vector<uint64_t>{0, 1, 2});
  CHECK(buffer.size() == 0);
}

TEST_CASE("a synchronous batch waits for its own groups, not for as many others") {
  BatchBuffer buffer({.groups_per_batch = 2, .max_staleness = 0}, 4);
  CHECK(buffer.put(group_of(5, 2), 2) == Put::kTaken);
  CHECK(buffer.put(group_of(6, 2), 2) == Put::kTaken);
  CHECK_FALSE(buffer.ready());
  CHECK(buffer.put(group_of(4, 2), 2) == Put::kTaken);
  REQUIRE(buffer.ready());
  CHECK(ids(buffer.take()) == std::vector<uint64_t>{4, 5});
  CHECK_FALSE(buffer.ready());
}

TEST_CASE("with staleness a slow group holds nobody up, and comes first when it is there") {
  BatchBuffer buffer({.groups_per_batch = 2, .max_staleness = 1});
  CHECK(buffer.put(group_of(1, 0), 0) == Put::kTaken);
  CHECK(buffer.put(group_of(2, 0), 0) == Put::kTaken);
  REQUIRE(buffer.ready());
  CHECK(ids(buffer.take()) == std::vector<uint64_t>{1, 2});  // without group 0
  CHECK(buffer.put(group_of(3, 1), 1) == Put::kTaken);
  CHECK(buffer.put(group_of(4, 1), 1) == Put::kTaken);
  CHECK(buffer.put(group_of(0, 0), 1) == Put::kTaken);
  CHECK(ids(buffer.take()) == std::vector<uint64_t>{0, 3});
}

TEST_CASE(
    "a batch that is refilled has its number of groups with a signal, and the others besides") {
  BatchBuffer buffer({.groups_per_batch = 2, .max_staleness = 0, .max_refilled_groups = 3});
  for (const uint64_t id : {1, 2}) CHECK(buffer.put(group_of(id, 0), 0) == Put::kTaken);
  CHECK(buffer.put(trainable(3), 0) == Put::kTaken);
  CHECK(buffer.put(trainable(4), 0) == Put::kTaken);
  CHECK_FALSE(buffer.ready());  // group 0 may have a signal, and is before them
  CHECK(buffer.put(trainable(0), 0) == Put::kTaken);
  REQUIRE(buffer.ready());
  CHECK(ids(buffer.take()) == std::vector<uint64_t>{0, 1, 2, 3});
  CHECK_FALSE(buffer.ready());
  CHECK(buffer.put(trainable(5), 0) == Put::kTaken);
  REQUIRE(buffer.ready());
  CHECK(ids(buffer.take()) == std::vector<uint64_t>{4, 5});
}

TEST_CASE("a batch leaves out no more groups than it may") {
  BatchBuffer buffer({.groups_per_batch = 2, .max_staleness = 0, .max_refilled_groups = 1});
  for (const uint64_t id : {0, 1}) CHECK(buffer.put(group_of(id, 0), 0) == Put::kTaken);
  CHECK_FALSE(buffer.ready());
  CHECK(buffer.put(trainable(2), 0) == Put::kTaken);
  REQUIRE(buffer.ready());
  CHECK(ids(buffer.take()) == std::vector<uint64_t>{0, 1, 2});
}

TEST_CASE("with staleness a refilled batch takes the oldest groups, those without a signal too") {
  BatchBuffer buffer({.groups_per_batch = 1, .max_staleness = 1, .max_refilled_groups = 2});
  CHECK(buffer.put(group_of(3, 1), 1) == Put::kTaken);
  CHECK_FALSE(buffer.ready());
  CHECK(buffer.put(trainable(4, 1), 1) == Put::kTaken);
  CHECK(buffer.put(group_of(5, 0), 1) == Put::kTaken);
  REQUIRE(buffer.ready());
  CHECK(ids(buffer.take()) == std::vector<uint64_t>{3, 4, 5});
  CHECK(buffer.put(group_of(6, 1), 1) == Put::kTaken);
  CHECK(buffer.drop_stale(3).size() == 1);
  CHECK(buffer.put(trainable(7, 3), 3) == Put::kTaken);
  REQUIRE(buffer.ready());
  CHECK(ids(buffer.take()) == std::vector<uint64_t>{7});
}

TEST_CASE("a group one version too old is refused, not trained on") {
  BatchBuffer buffer({.groups_per_batch = 2, .max_staleness = 1});
  CHECK(buffer.put(group_of(0, 3), 5) == Put::kStale);
  CHECK(buffer.put(group_of(0, 4), 5) == Put::kTaken);
  // One that became too old while it waited goes back too, and may come again.
  CHECK(buffer.drop_stale(5).empty());
  CHECK(buffer.drop_stale(6) == std::vector<GroupKey>{{0, 0}});
  CHECK(buffer.size() == 0);
  CHECK(buffer.put(group_of(0, 6, 1), 6) == Put::kTaken);
}

TEST_CASE("a group is taken once, whichever attempt comes late") {
  BatchBuffer buffer({.groups_per_batch = 1, .max_staleness = 0});
  CHECK(buffer.put(group_of(0, 0, 1), 0) == Put::kTaken);
  CHECK(buffer.put(group_of(0, 0, 0), 0) == Put::kDuplicate);
  (void)buffer.take();
  CHECK(buffer.put(group_of(0, 1, 2), 1) == Put::kDuplicate);
}

TEST_CASE("a resumed buffer knows what was trained before, in order or not") {
  BatchBuffer buffer({.groups_per_batch = 2, .max_staleness = 3}, 0, {0, 1, 4});
  CHECK(buffer.put(group_of(1, 5), 5) == Put::kDuplicate);
  CHECK(buffer.put(group_of(4, 5), 5) == Put::kDuplicate);
  CHECK(buffer.put(group_of(2, 5), 5) == Put::kTaken);
  CHECK(buffer.put(group_of(3, 5), 5) == Put::kTaken);
  CHECK(ids(buffer.take()) == std::vector<uint64_t>{2, 3});
  CHECK(buffer.put(group_of(5, 5), 5) == Put::kTaken);
}

TEST_CASE("each epoch visits every prompt once, in an order that seed and epoch decide") {
  PromptOrder order(50, 7, true);
  std::vector<uint64_t> first, second;
  for (uint64_t g = 0; g < 50; ++g) first.push_back(order.index(g));
  for (uint64_t g = 50; g < 100; ++g) second.push_back(order.index(g));
  CHECK(std::set<uint64_t>(first.begin(), first.end()).size() == 50);
  CHECK(std::set<uint64_t>(second.begin(), second.end()).size() == 50);
  CHECK(first != second);
  // Going back, as a resumed run does, gives the same prompts.
  PromptOrder again(50, 7, true);
  CHECK(again.index(73) == second[23]);
  CHECK(again.index(5) == first[5]);
  PromptOrder other_seed(50, 8, true);
  std::vector<uint64_t> other;
  for (uint64_t g = 0; g < 50; ++g) other.push_back(other_seed.index(g));
  CHECK(other != first);
  PromptOrder plain(3, 7, false);
  CHECK(plain.index(0) == 0);
  CHECK(plain.index(5) == 2);
}

}  // namespace
}  // namespace tracewise
