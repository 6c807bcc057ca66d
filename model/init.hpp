// Random initial weights.
#pragma once

#include <cstdint>

#include "model/model_config.hpp"
#include "model/weights.hpp"

namespace tracewise {

// Version 0, F32. Embedding and head N(0, 0.02), other matrices N(0, 1/sqrt(fan-in)), the two that
// write to the residual stream (attention out, MLP down) half of that; norms 1, biases 0.
// `config.dtype` must be F32.
WeightsPtr initial_weights(const ModelConfig& config, uint64_t seed);

}  // namespace tracewise
