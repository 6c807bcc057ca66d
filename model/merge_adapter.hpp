// An adapter and its base as whole weights.
#pragma once

#include "model/model_config.hpp"
#include "model/weights.hpp"

namespace tracewise {

// W + scale * B A of every target, added in fp32 and rounded to the base's dtype, beside the base's
// other tensors: what a generator computes with that takes `adapter`, bit for bit. `adapter` has
// its base; `config` loses its adapter, so that it is the result's.
WeightsPtr merge_adapter(ModelConfig& config, const Weights& adapter);

}  // namespace tracewise
