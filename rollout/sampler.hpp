// Draws a token from a distribution after top-k, top-p and min-p filters.
#pragma once

#include <cstdint>
#include <span>

#include "messages/records.hpp"

namespace tracewise {

struct Draw {
  int32_t token = 0;
  float logprob = 0;  // nats, in the filtered and renormalised distribution
};

// `probabilities` [V] is the softmax at the sampling temperature and sums to 1; `u` in [0, 1).
// Filters apply in the order top-k, top-p, min-p, each to what the one before left. Equal
// probabilities keep the lower token id. temperature 0 takes the likeliest token, logprob 0.
Draw draw_token(std::span<const float> probabilities, const SamplingParams& params, double u);

// One sentence about the first parameter out of its range, or success.
Result<void> check_sampling(const SamplingParams& params);

}  // namespace tracewise
