// Small traced rollouts for the tests of groups and preferences.
#pragma once

#include <numeric>
#include <utility>
#include <vector>

#include "messages/records.hpp"

namespace tracewise {

// A good rollout of group 5 with prompt {1, 2}; `steps` are its steps' tokens.
inline TracedRollout traced(uint32_t sample, const std::vector<std::vector<int32_t>>& steps,
                            std::vector<float> values, float reward) {
  TracedRollout out;
  Rollout& r = out.rollout;
  r.key = {5, 0};
  r.sample = sample;
  r.group_samples = 4;
  r.prompt.tokens = {1, 2};
  for (const auto& step : steps) {
    r.tokens.insert(r.tokens.end(), step.begin(), step.end());
    out.step_ends.push_back(static_cast<int32_t>(r.tokens.size()));
  }
  for (size_t t = 0; t < r.tokens.size(); ++t) {
    r.logprobs.push_back(-0.25f);
    r.policy_logprobs.push_back(-0.5f - static_cast<float>(t));
    r.versions.push_back(7 + t % 2);
  }
  r.generate_seconds = 0.5;
  out.values = std::move(values);
  out.reward = reward;
  out.probe_tokens = 10;
  out.probe_seconds = 0.25;
  return out;
}

inline TracedRollout failed(uint32_t sample, FailureClass failure_class) {
  TracedRollout out = traced(sample, {}, {}, 0);
  out.rollout.failure = {failure_class, "for the test"};
  return out;
}

}  // namespace tracewise
