#include "learner/batch.hpp"

#include <algorithm>
#include <numeric>

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

int64_t tokens_of(const AdvantageRollout* rollout) {
  return static_cast<int64_t>(rollout->tokens.size());
}
int64_t tokens_of(const StepPair* pair) {
  return static_cast<int64_t>(2 * pair->prefix.size() + pair->chosen.size() +
                              pair->rejected.size());
}

// This rank's part of `items`, in passes of at most `budget` tokens.
template <class T>
std::vector<std::vector<T>> passes(std::span<const T> items, int64_t budget, RankShare share,
                                   std::vector<int64_t>& loads) {
  const auto sizes_of = [](std::span<const T> of) {
    std::vector<int64_t> sizes;
    for (const T& item : of) sizes.push_back(tokens_of(item));
    return sizes;
  };
  const std::vector<T> mine = dealt_to<T>(share.rank, items, deal(sizes_of(items), loads));
  std::vector<std::vector<T>> passes;
  size_t begin = 0;
  for (const size_t end : budget_ends(sizes_of(mine), budget)) {
    passes.emplace_back(mine.begin() + static_cast<ptrdiff_t>(begin),
                        mine.begin() + static_cast<ptrdiff_t>(end));
    begin = end;
  }
  return passes;
}

OptimizerBatch cut_one(std::span<const AdvantageRollout* const> rollouts,
                       std::span<const StepPair* const> pairs, const TrainerOptions& options,
                       RankShare share) {
  OptimizerBatch batch;
  batch.rollouts = static_cast<int64_t>(rollouts.size());
  batch.pairs = static_cast<int64_t>(pairs.size());
  batch.rank_tokens.assign(static_cast<size_t>(share.size), 0);
  for (const AdvantageRollout* r : rollouts)
    batch.response_tokens += static_cast<int64_t>(r->advantages.size());
  for (const auto& pass : passes(rollouts, options.micro_batch_tokens, share, batch.rank_tokens)) {
    MicroBatch& micro = batch.micro_batches.emplace_back();
    for (const AdvantageRollout* r : pass) {
      const auto tokens = static_cast<int64_t>(r->advantages.size());
      micro.push_back({r, token_weight(options.loss, batch, tokens)});
    }
  }
  batch.pair_batches = passes(pairs, options.micro_batch_tokens, share, batch.rank_tokens);
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

std::vector<int> deal(std::span<const int64_t> sizes, std::vector<int64_t>& loads) {
  std::vector<size_t> order(sizes.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, [&](size_t a, size_t b) { return sizes[a] > sizes[b]; });
  std::vector<int> owners(sizes.size());
  for (const size_t i : order) {
    const auto least = std::ranges::min_element(loads);
    owners[i] = static_cast<int>(least - loads.begin());
    *least += sizes[i];
  }
  return owners;
}

std::vector<OptimizerBatch> cut_batches(std::span<const SampleGroup> groups,
                                        const TrainerOptions& options, uint64_t step,
                                        RankShare share) {
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
    OptimizerBatch batch =
        cut_one(part(rollouts, u, updates), part(pairs, u, updates), options, share);
    if (batch.rollouts + batch.pairs > 0) batches.push_back(std::move(batch));
  }
  return batches;
}

}  // namespace tracewise
