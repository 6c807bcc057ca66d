// The supervised warm start: examples in, a trained Hugging Face folder out.
#pragma once

#include <cstdint>
#include <functional>
#include <stop_token>

#include "launch/config.hpp"

namespace tracewise {

struct SupervisedProgress {
  int64_t step = 0;
  int64_t steps = 0;
  double loss = 0;  // mean since the last report
  double tokens_per_second = 0;
  double seconds_left = 0;
};

struct SupervisedSummary {
  double loss = 0;      // mean over the last 50 steps
  double seconds = 0;   // of training
  uint64_t tokens = 0;  // response tokens in the loss
  bool stopped = false;
};

// Trains config.launch.model_dir on config.sft.data for config.sft.steps and writes the model to
// config.sft.out_dir. An epoch visits every example once, in a seeded order. The result depends on
// the config and the data alone. A stop writes nothing. `report` is called about once a second.
Result<SupervisedSummary> train_supervised(
    const Config& config, std::stop_token stop,
    const std::function<void(const SupervisedProgress&)>& report);

}  // namespace tracewise
