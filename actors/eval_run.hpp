// One evaluation under way: which groups it consists of and what has come back.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "actors/eval_set.hpp"
#include "messages/records.hpp"

namespace tracewise {

// Not thread-safe; owned by the coordinator.
class EvalRun {
 public:
  // A group for each prompt of each set, to be sampled with `version`. `sets` outlive the object
  // and have passed check() and check_set_names().
  EvalRun(std::span<const EvalSet> sets, const SamplingParams& sampling, uint64_t version);

  // Of all sets, so that none waits for another's last rollouts.
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

  const EvalSet& set_of(uint64_t group) const;

  std::map<uint64_t, const EvalSet*> sets_;  // by first group
  SamplingParams sampling_;
  uint64_t version_;
  std::map<uint64_t, uint32_t> open_;  // unfinished groups: their newest attempt
  std::map<uint64_t, std::map<uint32_t, TracedRollout>> rollouts_;  // by group and sample
};

}  // namespace tracewise
