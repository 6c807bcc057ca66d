#include "actors/eval_run.hpp"

#include <utility>

#include "messages/check.hpp"

namespace tracewise {

EvalRun::EvalRun(std::span<const Prompt> prompts, const EvalOptions& options, uint64_t version)
    : prompts_(prompts), options_(options), version_(version) {
  for (uint64_t i = 0; i < prompts_.size(); ++i) open_[kEvalGroup | i] = 0;
}

GroupTask EvalRun::task(uint64_t group, uint32_t attempt) const {
  GroupTask task;
  task.key = {group, attempt};
  task.purpose = Purpose::kEval;
  task.issue_version = version_;
  task.samples = options_.samples;
  task.sampling = options_.sampling;
  task.prompt = prompts_[group & ~kEvalGroup];
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
  if (group.size() < options_.samples) return false;
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
