// Low-rank adapters: their tensors, and where a run starts. PEFT's names throughout.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "messages/result.hpp"
#include "model/model_config.hpp"
#include "model/weights.hpp"

namespace tracewise {

// What an adapter may target, in the order of a layer: "q_proj", ..., "down_proj".
const std::vector<std::string>& adapter_modules();

// "self_attn.q_proj" of "q_proj": where in a layer it is.
std::string module_path(const std::string& module);

// "base_model.model.model.layers.3.self_attn.q_proj.lora_A.weight"; `factor`: 'A' or 'B'.
std::string adapter_tensor_name(int64_t layer, const std::string& module, char factor);

// A and B of every target, layer by layer. Empty without an adapter.
std::vector<ParameterSpec> adapter_specs(const ModelConfig& config);

// The layout of every version that training makes: of the adapter, always F32, where there is one;
// else weights_layout().
WeightsManifest version_layout(const ModelConfig& config);

// kBadInput if `adapter` has no rank or alpha, no targets, or one that is no module, or twice.
Result<void> check_adapter_config(const AdapterConfig& adapter, const std::string& place);

// Version 0 of config.adapter over `base`, which is whole: A uniform in +-1/sqrt(in), which is
// Kaiming's as PEFT takes it, and B 0, so that the model computes what the base does.
WeightsPtr initial_adapter(const ModelConfig& config, WeightsPtr base, uint64_t seed);

}  // namespace tracewise
