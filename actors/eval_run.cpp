#include "actors/eval_run.hpp"

#include <iterator>
#include <utility>

#include "messages/check.hpp"

namespace tracewise {

EvalRun::EvalRun(std::span<const EvalSet> sets, const SamplingParams& sampling, uint64_t version)
    : sampling_(sampling), version_(version) {
  for (const EvalSet& set : sets) {
    const uint64_t first = first_eval_group(set.name);
    const bool fresh = sets_.emplace(first, &set).second;
    TW_CHECK(fresh, "two evaluation sets have the same groups");
    for (uint64_t i = 0; i < set.prompts.size(); ++i) open_[first + i] = 0;
  }
}

const EvalSet& EvalRun::set_of(uint64_t group) const {
  return *std::prev(sets_.upper_bound(group))->second;
}

GroupTask EvalRun::task(uint64_t group, uint32_t attempt) const {
  const EvalSet& set = set_of(group);
  GroupTask task;
  task.key = {group, attempt};
  task.purpose = Purpose::kEval;
  task.issue_version = version_;
  task.samples = set.samples;
  task.sampling = sampling_;
  task.prompt = set.prompts[group - first_eval_group(set.name)];
  return task;
}

std::vector<GroupTask> EvalRun::tasks() const {
  std::vector<GroupTask> tasks;
  for (const auto& [group, attempt] : open_) tasks.push_back(task(group, attempt));
  return tasks;
}

GroupTask EvalRun::retry(GroupKey key) {
  const auto it = open_.find(key.group);
  TW_CHECK(it != open_.end(), "an evaluation group that is finished was to be tried again");
  rollouts_.erase(key.group);
  return task(key.group, ++it->second);
}

bool EvalRun::put(TracedRollout traced) {
  const GroupKey key = traced.rollout.key;
  const auto it = open_.find(key.group);
  if (it == open_.end() || it->second != key.attempt) return false;
  auto& group = rollouts_[key.group];
  const uint32_t sample = traced.rollout.sample;
  group.emplace(sample, std::move(traced));
  if (group.size() < set_of(key.group).samples) return false;
  open_.erase(it);
  return true;
}

std::vector<TracedRollout> EvalRun::take() {
  TW_CHECK(complete(), "an evaluation was ended before all of it was there");
  std::vector<TracedRollout> all;
  for (auto& [id, group] : rollouts_) {
    for (auto& [sample, traced] : group) all.push_back(std::move(traced));
  }
  rollouts_.clear();
  return all;
}

}  // namespace tracewise
