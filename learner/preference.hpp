// Step preference pairs: of two steps that continue the same tokens, the one whose value gain is
// higher is preferred (Step-DPO, arXiv 2406.18629; Full-Step-DPO, arXiv 2502.14356).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "messages/records.hpp"

namespace tracewise {

struct PreferenceOptions {
  double min_margin = 0.1;  // > 0; least difference of the value gains
  int64_t max_pairs = 8;    // of a group, those with the largest margins; 0: build none
};

// The pairs of one group, largest margin first.
//
// Step k of a rollout has the prefix "prompt + the response's tokens before the step" and the gain
// V_k - V_{k-1}, with V_K = R. Two steps are compared if their prefixes are equal token by token
// (the prompt alone for first steps; more where rollouts agree or were forked) and their own tokens
// differ. Steps with equal prefix and equal tokens are one step with the mean of their gains.
// Failed rollouts and those without values take no part. Ties are broken by shorter prefix, then by
// tokens, so the result does not depend on the order of `group`.
std::vector<StepPair> step_pairs(std::span<const TracedRollout> group,
                                 const PreferenceOptions& options);

}  // namespace tracewise
