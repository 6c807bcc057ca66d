// From the config to the parts that a run is put together from.
#pragma once

#include <memory>
#include <vector>

#include "actors/run_parts.hpp"
#include "launch/config.hpp"
#include "model/model_folder.hpp"

namespace tracewise {

// The model of config.launch.model_dir in the dtype that it computes in.
Result<ModelFolder> load_model(const Config& config);
Result<ModelFolder> load_model(const std::filesystem::path& dir, ModelDtype dtype);

// Casts the weights to the dtype that the model is to compute in.
void cast_model(ModelFolder& model, ModelDtype dtype);

// Without configured stop tokens the model's own end tokens stop.
EngineOptions engine_options(const Config& config, const ModelConfig& model);

TracerOptions tracer_options(const Config& config, const ModelConfig& model);

// The prompts of `options`, whose rows need an answer unless the probe is verbal and nothing is
// verified. A prompt that leaves no room in the model's context is kBadInput.
Result<std::vector<Prompt>> load_dataset(DatasetOptions options, const ModelFolder& model);

// Everything that a run of the actors is put together from. The parts share the config and the
// model with the caller, because an actor that is stuck may outlive the run.
Result<RunParts> run_parts(std::shared_ptr<const Config> config,
                           std::shared_ptr<const ModelFolder> model);

}  // namespace tracewise
