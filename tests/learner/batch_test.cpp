// How a batch is dealt to ranks, and the flat gradient cut into buckets; traced by hand.
#include <catch2/catch.hpp>
#include <set>

#include "learner/batch.hpp"
#include "learner/gradient_exchange.hpp"
#include "learner/optimizer.hpp"

using namespace tracewise;

namespace {

std::vector<int> dealt(std::vector<int64_t> sizes, std::vector<int64_t> loads) {
  return deal(sizes, loads);
}

// A group of one rollout of `tokens` tokens, the first of which is its prompt.
SampleGroup group_of(uint64_t id, int64_t tokens) {
  SampleGroup group;
  group.key.group = id;
  AdvantageRollout r;
  r.sample = static_cast<uint32_t>(id);
  r.tokens.assign(static_cast<size_t>(tokens), 1);
  r.prompt_tokens = 1;
  r.advantages.assign(static_cast<size_t>(tokens - 1), 1.0f);
  group.rollouts.push_back(r);
  return group;
}

}  // namespace

TEST_CASE("items go largest first to the least loaded rank, ties to the lower one") {
  // 9 -> 0 (9, 0); 7 -> 1 (9, 7); 5 -> 1 (9, 12); 5 -> 0 (14, 12); 1 -> 1 (14, 13)
  CHECK(dealt({5, 9, 1, 7, 5}, {0, 0}) == std::vector{1, 0, 1, 1, 0});
  CHECK(dealt({3, 3, 3}, {0, 0}) == std::vector{0, 1, 0});
  CHECK(dealt({4}, {2, 1, 1}) == std::vector{1});  // loads from before count
  CHECK(dealt({}, {0, 0}).empty());
  CHECK(dealt({1, 2, 3}, {0}) == std::vector{0, 0, 0});
  std::vector<int64_t> loads = {0, 0};
  deal(std::vector<int64_t>{5, 9, 1, 7, 5}, loads);
  CHECK(loads == std::vector<int64_t>{14, 13});
}

TEST_CASE("the ranks' shares of each update add up to the batch that one rank sees") {
  std::vector<SampleGroup> groups;
  for (uint64_t i = 0; i < 11; ++i) groups.push_back(group_of(i, 3 + (i * 5) % 7));
  for (const uint64_t g : {1, 4, 6}) {
    StepPair pair;
    pair.prefix = {1};
    pair.chosen.assign(g, 2);
    pair.rejected = {3};
    groups[g].pairs.push_back(pair);
  }
  TrainerOptions options;
  options.updates_per_batch = 3;
  options.micro_batch_tokens = 9;
  options.loss.step_dpo_weight = 1;
  const auto whole = cut_batches(groups, options, 5);
  REQUIRE(whole.size() == 3);
  for (const int size : {2, 4, 6}) {
    std::vector<std::vector<OptimizerBatch>> shares;
    for (int rank = 0; rank < size; ++rank)
      shares.push_back(cut_batches(groups, options, 5, {rank, size}));
    for (size_t u = 0; u < whole.size(); ++u) {
      INFO("update " << u << " of " << size << " ranks");
      std::multiset<std::pair<uint32_t, float>> all, dealt;
      std::multiset<const StepPair*> all_pairs, dealt_pairs;
      for (const MicroBatch& micro : whole[u].micro_batches)
        for (const BatchItem& item : micro) all.emplace(item.rollout->sample, item.token_weight);
      for (const auto& pairs : whole[u].pair_batches) all_pairs.insert(pairs.begin(), pairs.end());
      int64_t most = 0, total = 0;
      for (int rank = 0; rank < size; ++rank) {
        const OptimizerBatch& share = shares[rank][u];
        CHECK(share.response_tokens == whole[u].response_tokens);
        int64_t tokens = 0;
        for (const MicroBatch& micro : share.micro_batches) {
          for (const BatchItem& item : micro) {
            dealt.emplace(item.rollout->sample, item.token_weight);
            tokens += static_cast<int64_t>(item.rollout->tokens.size());
          }
        }
        for (const auto& pairs : share.pair_batches) {
          dealt_pairs.insert(pairs.begin(), pairs.end());
          for (const StepPair* p : pairs)
            tokens +=
                static_cast<int64_t>(2 * p->prefix.size() + p->chosen.size() + p->rejected.size());
        }
        CHECK(tokens == share.rank_tokens[rank]);
        most = std::max(most, tokens);
        total += tokens;
      }
      CHECK(dealt == all);
      CHECK(dealt_pairs == all_pairs);
      CHECK(most <= total / size + 9);  // no item has more than 9 tokens
    }
  }
}

TEST_CASE("shards are contiguous and equal, and the last takes the rest") {
  CHECK(shard_of(10, 0, 1).count == 10);
  CHECK(shard_of(10, 0, 3).begin == 0);
  CHECK(shard_of(10, 0, 3).count == 3);
  CHECK(shard_of(10, 1, 3).begin == 3);
  CHECK(shard_of(10, 2, 3).begin == 6);
  CHECK(shard_of(10, 2, 3).count == 4);
}

TEST_CASE("buckets lie from the end of the gradient and are ready when all in them is final") {
  GradientBuckets buckets(10, 4);  // [6, 10), [2, 6), [0, 2)
  const auto missing = [&] {
    std::vector<int64_t> missing;
    for (size_t b = 0; b < buckets.size(); ++b) missing.push_back(buckets[b].missing);
    return missing;
  };
  REQUIRE(buckets.size() == 3);
  CHECK(buckets[0].begin == 6);
  CHECK(buckets[1].begin == 2);
  CHECK(buckets[2].begin == 0);
  CHECK(buckets[2].end == 2);
  CHECK(missing() == std::vector<int64_t>{4, 4, 2});
  buckets.finish(5, 2);  // spans two
  CHECK(missing() == std::vector<int64_t>{3, 3, 2});
  buckets.finish(7, 3);
  CHECK(missing() == std::vector<int64_t>{0, 3, 2});
  buckets.finish(0, 5);  // a tensor larger than a bucket
  CHECK(missing() == std::vector<int64_t>{0, 0, 0});
  buckets.reset();
  CHECK(missing() == std::vector<int64_t>{4, 4, 2});
  CHECK(GradientBuckets(10, 100).size() == 1);
  CHECK(GradientBuckets(3, 1).size() == 3);
}
