#include "learner/batch.hpp"

#include <algorithm>

#include "messages/random.hpp"

namespace tracewise {
namespace {

// Part `index` of `parts` almost equal parts.
template <class T>
std::span<const T> part(const std::vector<T>& items, size_t index, size_t parts) {
  const size_t begin = items.size() * index / parts;
  const size_t end = items.size() * (index + 1) / parts;
  return std::span<const T>(items).subspan(begin, end - begin);
}

// The objective's mean is a weighted sum of token terms; this is the weight (LossAggregation).
float token_weight(const LossOptions& loss, const OptimizerBatch& batch, int64_t response_tokens) {
  const auto rollouts = static_cast<double>(batch.rollouts);
  switch (loss.aggregation) {
    case LossAggregation::kTokenMean:
      return static_cast<float>(1.0 / static_cast<double>(batch.response_tokens));
    case LossAggregation::kSequenceMean:
      return static_cast<float>(1.0 / (rollouts * static_cast<double>(response_tokens)));
    case LossAggregation::kSequenceSumNorm:
      return static_cast<float>(1.0 / (rollouts * static_cast<double>(loss.max_response_tokens)));
  }
  TW_CHECK(false, "an aggregation without a weight");
}

OptimizerBatch cut_one(std::span<const AdvantageRollout* const> rollouts,
                       std::span<const StepPair* const> pairs, const TrainerOptions& options) {
  OptimizerBatch batch;
  batch.rollouts = static_cast<int64_t>(rollouts.size());
  batch.pairs = static_cast<int64_t>(pairs.size());
  std::vector<int64_t> sizes;
  for (const AdvantageRollout* r : rollouts) {
    batch.response_tokens += static_cast<int64_t>(r->advantages.size());
    sizes.push_back(static_cast<int64_t>(r->tokens.size()));
  }
  size_t begin = 0;
  for (const size_t end : budget_ends(sizes, options.micro_batch_tokens)) {
    MicroBatch micro;
    for (; begin < end; ++begin) {
      const auto tokens = static_cast<int64_t>(rollouts[begin]->advantages.size());
      micro.push_back({rollouts[begin], token_weight(options.loss, batch, tokens)});
    }
    batch.micro_batches.push_back(std::move(micro));
  }
  sizes.clear();
  for (const StepPair* p : pairs)
    sizes.push_back(
        static_cast<int64_t>(2 * p->prefix.size() + p->chosen.size() + p->rejected.size()));
  begin = 0;
  for (const size_t end : budget_ends(sizes, options.micro_batch_tokens)) {
    batch.pair_batches.emplace_back(pairs.begin() + static_cast<ptrdiff_t>(begin),
                                    pairs.begin() + static_cast<ptrdiff_t>(end));
    begin = end;
  }
  return batch;
}

}  // namespace

std::vector<size_t> budget_ends(std::span<const int64_t> sizes, int64_t budget) {
  std::vector<size_t> ends;
  int64_t used = 0;
  for (size_t i = 0; i < sizes.size(); ++i) {
    if (i > 0 && used + sizes[i] > budget) {
      ends.push_back(i);
      used = 0;
    }
    used += sizes[i];
  }
  if (!sizes.empty()) ends.push_back(sizes.size());
  return ends;
}

std::vector<OptimizerBatch> cut_batches(std::span<const SampleGroup> groups,
                                        const TrainerOptions& options, uint64_t step) {
  std::vector<const AdvantageRollout*> rollouts;
  std::vector<const StepPair*> pairs;
  for (const SampleGroup& group : groups) {
    for (const AdvantageRollout& r : group.rollouts)
      if (!r.advantages.empty()) rollouts.push_back(&r);
    if (options.loss.step_dpo_weight > 0)
      for (const StepPair& p : group.pairs) pairs.push_back(&p);
  }
  SplitMix(options.seed, step).shuffle(rollouts);
  SplitMix(~options.seed, step).shuffle(pairs);
  const size_t most = std::max(rollouts.size(), pairs.size());
  const size_t updates = std::min(static_cast<size_t>(options.updates_per_batch), most);
  std::vector<OptimizerBatch> batches;
  for (size_t u = 0; u < updates; ++u) {
    OptimizerBatch batch = cut_one(part(rollouts, u, updates), part(pairs, u, updates), options);
    if (batch.rollouts + batch.pairs > 0) batches.push_back(std::move(batch));
  }
  return batches;
}

}  // namespace tracewise
