// A small training run that ranks share: options, model and batches.
#pragma once

#include <vector>

#include "learner/trainer.hpp"
#include "messages/random.hpp"
#include "tests/tiny_model.hpp"

namespace tracewise {

inline TrainerOptions ranks_options() {
  TrainerOptions options;
  options.micro_batch_tokens = 40;  // several passes an update
  options.seed = 9;
  options.optimizer.lr = 1e-4;
  options.optimizer.eps = 1e-6;  // gradients of 0 up to rounding must not become whole steps
  options.optimizer.weight_decay = 0.01;
  return options;
}

// Batch `index` of a run: 13 groups of a rollout, every third with a pair.
inline std::vector<SampleGroup> ranks_batch(int index) {
  SplitMix random(4, static_cast<uint64_t>(index));
  std::vector<SampleGroup> groups;
  for (uint64_t g = 0; g < 13; ++g) {
    SampleGroup group;
    group.key.group = 13 * static_cast<uint64_t>(index) + g;
    AdvantageRollout r;
    r.prompt_tokens = static_cast<uint32_t>(3 + g % 4);
    const size_t response = 3 + (g * 7) % 19;
    for (size_t i = 0; i < r.prompt_tokens + response; ++i)
      r.tokens.push_back(static_cast<int32_t>(random.below(29)));
    for (size_t i = 0; i < response; ++i) {
      r.logprobs.push_back(-3.3f - static_cast<float>(random.uniform()));
      r.advantages.push_back(static_cast<float>(random.normal()));
    }
    r.versions.assign(response, 0);
    group.rollouts.push_back(r);
    if (g % 3 == 0) {
      StepPair pair;
      for (int i = 0; i < 5; ++i) pair.prefix.push_back(static_cast<int32_t>(random.below(29)));
      pair.chosen = {1, 2, static_cast<int32_t>(g % 5)};
      pair.rejected = {4, 7};
      pair.margin = 1;
      group.pairs.push_back(pair);
    }
    groups.push_back(group);
  }
  return groups;
}

}  // namespace tracewise
