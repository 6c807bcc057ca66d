// One evaluation under way: which groups it consists of and what has come back.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "actors/eval_result.hpp"
#include "actors/run_options.hpp"
#include "messages/records.hpp"

namespace tracewise {

// Groups of evaluations are told from training groups by this bit, which keeps their random numbers
// apart as well. Every evaluation of a prompt has the same number, so that two evaluations differ
// by their weights alone. Below 2^48, the largest group that rollout/random.hpp takes.
inline constexpr uint64_t kEvalGroup = uint64_t{1} << 47;

// Not thread-safe; owned by the coordinator.
class EvalRun {
 public:
  // One group of options.samples rollouts for each prompt, to be sampled with `version`.
  EvalRun(std::span<const Prompt> prompts, const EvalOptions& options, uint64_t version);

  std::vector<GroupTask> tasks() const;

  // The task of another attempt; what came of the older one is forgotten.
  GroupTask retry(GroupKey key);

  // True if this was the last rollout of its group. Older attempts and samples that are here
  // already are ignored.
  bool put(TracedRollout traced);

  bool complete() const { return open_.empty(); }
  size_t groups_left() const { return open_.size(); }

  // The rollouts, ascending by group and sample. Only when complete().
  std::vector<TracedRollout> take();

 private:
  GroupTask task(uint64_t group, uint32_t attempt) const;

  std::span<const Prompt> prompts_;
  EvalOptions options_;
  uint64_t version_;
  std::map<uint64_t, uint32_t> open_;  // unfinished groups: their newest attempt
  std::map<uint64_t, std::map<uint32_t, TracedRollout>> rollouts_;  // by group and sample
};

}  // namespace tracewise
