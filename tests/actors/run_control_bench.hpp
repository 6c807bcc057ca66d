// A run control with its books, and what its tests feed it.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "actors/run_control.hpp"
#include "tests/temp_dir.hpp"

namespace tracewise {

using Todo = RunControl::Todo;
using TimePoint = RunControl::TimePoint;

inline std::vector<Prompt> prompts(int n) {
  std::vector<Prompt> all;
  for (int i = 0; i < n; ++i) all.push_back({"p" + std::to_string(i), {i}, "", {}});
  return all;
}

// Time passes only through `now`.
struct Bench {
  explicit Bench(RunOptions o, int eval_prompts = 0, const TempDir* run = nullptr)
      : options(o), train_set(prompts(5)) {
    if (eval_prompts > 0) eval_sets = {{"main", prompts(eval_prompts), o.eval.samples}};
    const bool resume = run != nullptr;
    const auto& root = resume ? run->path() : own.path();
    folder = (resume ? RunFolder::open(root) : RunFolder::create(root, "")).value();
    books = RunBooks::open(*folder, resume, options, train_set, 100).value();
    control = std::make_unique<RunControl>(options, &train_set, &eval_sets, books.get(), 100, now);
    (void)control->on_join({Role::kTracer, 0}, now);
    (void)control->on_join({Role::kBuilder, 0}, now);
  }

  // A generator of 100 samples' room joins.
  Todo join(uint32_t generator) {
    return control->on_join({Role::kGenerator, generator}, now).value();
  }

  // The learner trains on the batch of `keys`.
  Todo commit(std::vector<GroupKey> keys) {
    Commit c;
    c.step = c.version = ++step;
    c.groups = std::move(keys);
    c.metrics = {{"train/rollouts", 4}, {"train/response_tokens", 25}, {"train/accuracy", 0.5}};
    return control->on_commit(c, now).value();
  }
  Todo built(GroupKey key) { return control->on_taken({key}, {}, {}, now).value(); }
  Todo built_without_signal(GroupKey key) {
    return control->on_taken({key}, {key}, {}, now).value();
  }

  TempDir own;
  RunOptions options;
  std::vector<Prompt> train_set;
  std::vector<EvalSet> eval_sets;
  std::unique_ptr<RunFolder> folder;
  std::unique_ptr<RunBooks> books;
  std::unique_ptr<RunControl> control;
  TimePoint now{};
  uint64_t step = 0;
};

inline RunOptions options_of(uint64_t steps) {
  RunOptions o;
  o.groups_per_batch = 2;
  o.group_size = 4;
  o.steps = steps;
  o.max_attempts = 2;
  o.shuffle = false;
  o.window_samples = 100;
  return o;
}

inline std::vector<GroupKey> keys(const Todo& todo) {
  std::vector<GroupKey> keys;
  for (const GroupTask& task : todo.issue) keys.push_back(task.key);
  return keys;
}

using Keys = std::vector<GroupKey>;

// The bench's evaluation set.
const uint64_t kMain = first_eval_group("main");

inline TracedRollout measured(uint64_t prompt, uint32_t sample, float reward, size_t tokens) {
  TracedRollout t;
  t.rollout.key = {kMain + prompt, 0};
  t.rollout.purpose = Purpose::kEval;
  t.rollout.sample = sample;
  t.rollout.tokens.assign(tokens, 1);
  t.step_ends = {static_cast<int32_t>(tokens)};
  t.reward = reward;
  t.rollout.versions.assign(tokens, 0);
  t.rollout.logprobs.assign(tokens, -1);
  t.rollout.policy_logprobs.assign(tokens, -1);
  t.rollout.group_samples = 2;
  t.rollout.prompt.tokens = {1};
  return t;
}

}  // namespace tracewise
