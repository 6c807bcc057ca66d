// Cuts the groups of a training step into optimizer batches and micro-batches. No padding:
// sequences lie one behind the other, cut by a budget of tokens.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "learner/trainer.hpp"
#include "messages/records.hpp"

namespace tracewise {

// A rollout in a batch, with what one of its tokens weighs in the loss.
struct BatchItem {
  const AdvantageRollout* rollout = nullptr;  // lives in the groups that were cut
  float token_weight = 0;                     // loss = -sum over tokens of token_weight * objective
};

// The rollouts of one forward and backward pass.
using MicroBatch = std::vector<BatchItem>;

// Which of the learner's ranks this is.
struct RankShare {
  int rank = 0;
  int size = 1;
};

// One rank's share of an optimizer step: micro-batches and preference pairs. Both may be empty; the
// counts are those of all ranks.
struct OptimizerBatch {
  std::vector<MicroBatch> micro_batches;
  std::vector<std::vector<const StepPair*>> pair_batches;  // of one pass each
  std::vector<int64_t> rank_tokens;                        // [ranks] tokens each rank computes
  int64_t response_tokens = 0;
  int64_t rollouts = 0;
  int64_t pairs = 0;
};

// Splits all rollouts at random (seeded by `seed` and `step`) into `updates` optimizer batches of
// almost equal numbers of rollouts, none empty. Deals each batch's rollouts, then its pairs, to the
// ranks, and cuts this rank's into micro-batches of at most `micro_batch_tokens` tokens (prompt +
// response; a longer rollout is alone in its own). The ranks' shares of one batch add up to it.
std::vector<OptimizerBatch> cut_batches(std::span<const SampleGroup> groups,
                                        const TrainerOptions& options, uint64_t step,
                                        RankShare share = {});

// The rank that takes each item: the largest item first, each to the rank with the least load so
// far; equal items in their order, equal loads to the lower rank. Adds the sizes to `loads`, one a
// rank.
std::vector<int> deal(std::span<const int64_t> sizes, std::vector<int64_t>& loads);

// The items whose owner is `rank`, in order.
template <class T>
std::vector<T> dealt_to(int rank, std::span<const T> items, std::span<const int> owners) {
  std::vector<T> mine;
  for (size_t i = 0; i < items.size(); ++i)
    if (owners[i] == rank) mine.push_back(items[i]);
  return mine;
}

// Ends of consecutive runs of items whose sizes add up to at most `budget`; one item at least each.
std::vector<size_t> budget_ends(std::span<const int64_t> sizes, int64_t budget);

}  // namespace tracewise
