#include "launch/memory_estimate.hpp"

#include <algorithm>

#include "launch/weights_placement.hpp"
#include "model/adapter.hpp"
#include "model/file_io.hpp"

namespace tracewise {
namespace {

constexpr uint64_t kMaxConfigBytes = uint64_t{1} << 20;
constexpr int64_t kFloatBytes = 4;
constexpr int64_t kHeadBytes = int64_t{64} << 20;      // of logits that are there at once
constexpr int64_t kProgramBytes = int64_t{240} << 20;  // resident after the start, measured

int64_t elements(const ParameterSpec& spec) {
  int64_t size = 1;
  for (const int64_t side : spec.shape) size *= side;
  return size;
}

int64_t elements(const std::vector<ParameterSpec>& specs) {
  int64_t all = 0;
  for (const ParameterSpec& spec : specs) all += elements(spec);
  return all;
}

std::vector<ParameterSpec> trained(const ModelConfig& model) {
  return model.adapter.rank > 0 ? adapter_specs(model) : parameter_specs(model);
}

// Of the weights that the adapter is added to.
int64_t adapted(const ModelConfig& model) {
  int64_t all = 0;
  for (const ParameterSpec& spec : parameter_specs(model)) {
    for (const std::string& module : model.adapter.targets)
      all += spec.name.ends_with("." + module + ".weight") ? elements(spec) : 0;
  }
  return all;
}

// What a backward pass finds again, in elements a token of a layer: the layer's input, both norms'
// outputs, the sum between; q, k, v and the heads' output; gate, up and their product.
int64_t layer_elements(const ModelConfig& m) {
  return 4 * m.width + 2 * (m.heads + m.kv_heads) * m.head_dim + 3 * m.mlp_width;
}

int64_t batch_rollouts(const RunOptions& run) {
  return static_cast<int64_t>(run.groups_per_batch) * run.group_size;
}

int64_t activation_bytes(const Config& config, const ModelConfig& model, int64_t longest) {
  const int64_t batch = batch_rollouts(config.run) * longest;
  const int64_t tokens = std::min(batch, std::max(config.trainer.micro_batch_tokens, longest));
  const int64_t element = model.dtype == "F32" ? kFloatBytes : 2;
  const int64_t layer = tokens * layer_elements(model);
  const int64_t kept = config.trainer.activation_checkpointing
                           ? layer + tokens * model.width * model.layers
                           : layer * model.layers;
  // A layer's gradients, in fp32 where attention computes them, and the head's rows with theirs.
  return kept * element + 2 * layer * kFloatBytes + 3 * kHeadBytes;
}

// Blocks of a generator that are ever written to: the cache takes no memory for others.
int64_t used_kv_tokens(const Config& config, int64_t longest) {
  const EngineOptions& engine = config.engine;
  const int64_t blocks = (longest + engine.block_tokens - 1) / engine.block_tokens + 1;
  const int64_t in_flight =
      batch_rollouts(config.run) * (1 + static_cast<int64_t>(config.run.max_staleness));
  const int64_t sequences =
      std::min<int64_t>(engine.max_sequences, in_flight / config.run.generators + 1);
  const int64_t used = sequences * blocks;
  return (engine.kv_blocks > 0 ? std::min(engine.kv_blocks, used) : used) * engine.block_tokens;
}

}  // namespace

Result<ModelConfig> read_run_model(const Config& config) {
  if (config.launch.model_dir.empty())
    return bad_input("model.dir is not set; it names the Hugging Face folder to start from");
  const std::filesystem::path file = std::filesystem::path(config.launch.model_dir) / "config.json";
  TW_ASSIGN(const std::string text, read_file(file, kMaxConfigBytes));
  TW_ASSIGN(ModelConfig model, parse_model_config(text, file.string()));
  if (config.launch.model_dtype != ModelDtype::kStored)
    model.dtype = config.launch.model_dtype == ModelDtype::kFloat32 ? "F32" : "BF16";
  TW_ASSIGN(model.adapter, adapter_config(config.lora));
  return model;
}

int64_t checkpoint_bytes(const ModelConfig& model) {
  const bool full = model.dtype == "F32" || model.adapter.rank > 0;
  // The weights, both moments, and a master copy of what isn't fp32 itself.
  return elements(trained(model)) * (full ? 3 * kFloatBytes : 2 + 3 * kFloatBytes);
}

MemoryEstimate estimate_memory(const Config& config, const ModelConfig& model, const Seats& seats,
                               bool head) {
  const int64_t element = model.dtype == "F32" ? kFloatBytes : 2;
  const bool has_adapter = model.adapter.rank > 0;
  const int64_t weights = elements(parameter_specs(model)) * element;
  // A version that is sent, and what it makes of the weights: all of them, or sums of some.
  const int64_t sent = has_adapter ? elements(adapter_specs(model)) * kFloatBytes : weights;
  const int64_t sums = has_adapter ? adapted(model) * element : 0;
  const auto base_copy = [&](const std::string& device) {  // on the CPU it is the folder's
    return has_adapter && device != "cpu" ? weights : 0;
  };
  MemoryEstimate estimate;
  const EngineOptions& engine = config.engine;
  // A generator has the version in use and the one that arrives, on the CPU both of them in the
  // kernels' layout too.
  const bool kernels = engine.device == "cpu";
  const int64_t version = sent + sums + (kernels ? weights : 0);
  estimate.weights = weights + (2 * version + base_copy(engine.device)) * int64_t{seats.generators};
  const int64_t context = (model.max_context + engine.block_tokens - 1) / engine.block_tokens;
  const int64_t blocks = engine.kv_blocks > 0 ? engine.kv_blocks : context * engine.max_sequences;
  estimate.kv_cache = seats.generators * blocks * engine.block_tokens * 2 * model.layers *
                      model.kv_heads * model.head_dim * element;
  if (!head && seats.ranks == 0) return estimate;
  const bool reference = config.trainer.loss.kl_beta > 0 || config.trainer.loss.step_dpo_weight > 0;
  // The weights that learn, their gradient; the version that is sent; the start weights, which an
  // adapter has already.
  const bool sends = head || ranks_serve_weights(config);
  const int64_t copies = 2 + (sends ? 1 : 0) + (reference && !has_adapter ? 1 : 0);
  // Both moments, and a master copy of what isn't fp32 itself; each rank has its share.
  const int64_t states = element == kFloatBytes || has_adapter ? 2 : 3;
  const int64_t ranks = 1 + int64_t{all_seats(config.cluster).ranks};
  estimate.optimizer = copies * sent + sums + base_copy(config.trainer.device) +
                       states * kFloatBytes * elements(trained(model)) / ranks;
  return estimate;
}

MemoryEstimate estimate_training(const Config& config, const ModelConfig& model,
                                 int64_t longest_prompt) {
  const Seats seats{config.run.generators, config.run.tracers, config.run.builders, 0};
  MemoryEstimate estimate = estimate_memory(config, model, seats, true);
  const int64_t longest = longest_prompt + config.run.sampling.max_new_tokens;
  const int64_t element = model.dtype == "F32" ? kFloatBytes : 2;
  estimate.kv_cache = config.run.generators * used_kv_tokens(config, longest) * 2 * model.layers *
                      model.kv_heads * model.head_dim * element;
  estimate.activations = activation_bytes(config, model, longest);
  estimate.program = kProgramBytes;
  return estimate;
}

}  // namespace tracewise
