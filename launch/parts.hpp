// From the config to the parts that a run is put together from.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "actors/run_parts.hpp"
#include "launch/config.hpp"
#include "launch/run_data.hpp"
#include "model/model_folder.hpp"

namespace tracewise {

// The model of config.launch.model_dir in the dtype that it computes in, for who samples or scores
// with it: an adapter of config.lora is added to its weights.
Result<ModelFolder> load_model(const Config& config);
Result<ModelFolder> load_model(const std::filesystem::path& dir, ModelDtype dtype);

// The same for who trains it: with config.lora its weights are an adapter over the folder's, a new
// one or config.lora.adapter_dir's, and its config has the adapter.
Result<ModelFolder> load_start_model(const Config& config);

// Adds the adapter of folder `dir` to the model's weights.
Result<void> merge_adapter_folder(ModelFolder& model, const std::filesystem::path& dir);

// Casts the weights to the dtype that the model is to compute in.
void cast_model(ModelFolder& model, ModelDtype dtype);

// Without configured stop tokens the model's own end tokens stop.
EngineOptions engine_options(const Config& config, const ModelConfig& model);

TracerOptions tracer_options(const Config& config, const ModelConfig& model);

// What generators and a rank compute with on one node, where it differs from the config.
struct SeatOptions {
  std::vector<std::string> devices;  // one for each generator; empty: engine.device for all
  uint32_t threads = 0;              // of each generator; 0: engine.threads
  std::string rank_device;           // empty: trainer.device
};

// What generators, tracers, builders and ranks are made from, without prompts or a learner: all
// that a node beside the head needs. Shares config and model as run_parts() does.
Result<RunParts> seat_parts(std::shared_ptr<const Config> config,
                            std::shared_ptr<const ModelFolder> model, const SeatOptions& options);

// Everything that a run of the actors is put together from. The parts share the config and the
// model with the caller, because an actor that is stuck may outlive the run.
Result<RunParts> run_parts(std::shared_ptr<const Config> config,
                           std::shared_ptr<const ModelFolder> model, RunData data);

}  // namespace tracewise
