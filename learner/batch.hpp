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

// The micro-batches of one optimizer step, and the preference pairs that share it.
struct OptimizerBatch {
  std::vector<MicroBatch> micro_batches;
  std::vector<std::vector<const StepPair*>> pair_batches;  // of one pass each
  int64_t response_tokens = 0;
  int64_t rollouts = 0;
  int64_t pairs = 0;
};

// Splits all rollouts at random (seeded by `seed` and `step`) into `updates` optimizer batches of
// almost equal numbers of rollouts, none empty, and each into micro-batches of at most
// `micro_batch_tokens` tokens (prompt + response; a longer rollout is alone in its own).
std::vector<OptimizerBatch> cut_batches(std::span<const SampleGroup> groups,
                                        const TrainerOptions& options, uint64_t step);

// Ends of consecutive runs of items whose sizes add up to at most `budget`; one item at least each.
std::vector<size_t> budget_ends(std::span<const int64_t> sizes, int64_t budget);

}  // namespace tracewise
