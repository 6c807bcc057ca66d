#include "learner/rank_agreement.hpp"

#include <array>
#include <vector>

namespace tracewise {

Result<void> agree(RankGroup& ranks, const Result<void>& mine, const std::string& at) {
  const double ok = mine.ok() ? 1 : 0;
  const auto all = ranks.all_gather_numbers({&ok, 1}, at);
  if (!mine.ok()) return mine;
  if (!all.ok()) return all.error();
  for (size_t rank = 0; rank < all->size(); ++rank) {
    if ((*all)[rank] == 0) {
      return Error{ErrorClass::kCancelled, "rank " + std::to_string(rank) + " failed at " + at +
                                               ", so no rank goes on; its own error says why"};
    }
  }
  return {};
}

Result<void> same_on_all(RankGroup& ranks, uint64_t fingerprint, const std::string& of) {
  // In halves, which a double holds exactly.
  const std::array<double, 2> mine = {static_cast<double>(fingerprint >> 32),
                                      static_cast<double>(fingerprint & 0xffffffff)};
  TW_ASSIGN(const auto all, ranks.all_gather_numbers(mine, "the ranks' " + of));
  for (size_t rank = 1; rank < all.size() / 2; ++rank) {
    if (all[2 * rank] != all[0] || all[2 * rank + 1] != all[1])
      return bad_input("rank " + std::to_string(rank) + " has other " + of + " than rank 0");
  }
  return {};
}

uint64_t fingerprint(std::span<const SampleGroup> groups) {
  std::vector<uint64_t> parts;
  for (const SampleGroup& group : groups) {
    parts.insert(parts.end(), {group.key.group, group.key.attempt, group.pairs.size()});
    for (const AdvantageRollout& r : group.rollouts)
      parts.insert(parts.end(), {r.sample, r.tokens.size(), r.advantages.size()});
  }
  return weights_checksum(std::as_bytes(std::span(parts)));
}

uint64_t fingerprint(std::span<const SupervisedExample> examples) {
  std::vector<uint64_t> parts;
  for (const SupervisedExample& e : examples)
    parts.insert(parts.end(), {e.tokens.size(), e.prompt_tokens, e.weights.size()});
  return weights_checksum(std::as_bytes(std::span(parts)));
}

uint64_t fingerprint(const TrainerOptions& o, const WeightsManifest& layout) {
  std::string text = layout.dtype + " " + std::to_string(layout.bytes);
  for (const TensorEntry& entry : layout.tensors) text += " " + entry.name;
  for (const int64_t number : {o.updates_per_batch, o.max_bad_steps, o.bucket_bytes,
                               static_cast<int64_t>(o.seed), static_cast<int64_t>(o.loss.ratio)})
    text += " " + std::to_string(number);
  for (const double number : {o.loss.kl_beta, o.loss.importance_cap, o.loss.step_dpo_weight,
                              o.optimizer.lr, o.optimizer.max_grad_norm})
    text += " " + std::to_string(number);
  return weights_checksum(std::as_bytes(std::span(text)));
}

}  // namespace tracewise
