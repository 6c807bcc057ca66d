// The angles of rotary position embeddings (Su et al. 2021), scaled as a model's config says.
#pragma once

#include <ATen/core/Tensor.h>

#include "model/model_config.hpp"
#include "model/ops.hpp"

namespace tracewise {

// Of positions 0 .. max_context - 1. With dynamic scaling position p has the base of a context of
// p + 1 tokens: what transformers gives each token that it generates. (A longer text that it is
// given at once gets the base of its whole length there.)
ops::RopeTable make_rope_table(const ModelConfig& config, at::Device device);

}  // namespace tracewise
