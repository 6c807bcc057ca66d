// An adapter as PEFT stores it: adapter_config.json and adapter_model.safetensors.
#pragma once

#include <filesystem>
#include <string>

#include "messages/result.hpp"
#include "model/model_config.hpp"
#include "model/weights.hpp"

namespace tracewise {

// What adapter_config.json says. Whatever else than plain LoRA on the linear modules of layers it
// asks for is kUnsupported by its name.
Result<AdapterConfig> read_adapter_config(const std::filesystem::path& dir);

// The adapter of `dir` over `base`, the whole weights of `config`, which gets the adapter's config:
// version 0. kBadInput names what does not fit the base (a module, a layer, a shape), kCorrupt a
// tensor with a NaN or an infinity.
Result<WeightsPtr> load_adapter(const std::filesystem::path& dir, WeightsPtr base,
                                ModelConfig& config);

// Whether save_adapter(dir) may write there. As check_model_target().
Result<void> check_adapter_target(const std::filesystem::path& dir);

// Writes the folder beside and renames it to `dir`, which must not exist or be an adapter's. PEFT
// loads it onto the model of folder `base`, which may be moved or named otherwise then.
Result<void> save_adapter(const std::filesystem::path& dir, const ModelConfig& config,
                          const Weights& adapter, const std::string& base);

}  // namespace tracewise
