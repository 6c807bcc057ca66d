// RoPE as Hugging Face's config.json states it.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "model/json_fields.hpp"
#include "model/model_config.hpp"

namespace tracewise {

// Sets rope_theta, rope_scaling and what scaling makes of max_context, which is
// max_position_embeddings so far.
void read_rope(JsonFields& fields, ModelConfig& config);

// "rope_scaling" of a config, null without any.
nlohmann::json rope_scaling_json(const RopeScaling& scaling);

// max_position_embeddings as transformers wants it beside that.
int64_t max_position_embeddings(const ModelConfig& config);

}  // namespace tracewise
