#include "launch/memory_estimate.hpp"

#include "launch/weights_placement.hpp"
#include "model/file_io.hpp"

namespace tracewise {
namespace {

constexpr uint64_t kMaxConfigBytes = uint64_t{1} << 20;
constexpr int64_t kFloatBytes = 4;

int64_t parameters(const ModelConfig& model) {
  int64_t all = 0;
  for (const ParameterSpec& spec : parameter_specs(model)) {
    int64_t size = 1;
    for (const int64_t side : spec.shape) size *= side;
    all += size;
  }
  return all;
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
  return model;
}

int64_t checkpoint_bytes(const ModelConfig& model) {
  const bool full = model.dtype == "F32";
  // The weights, both moments, and a master copy of what isn't fp32 itself.
  return parameters(model) * (full ? 3 * kFloatBytes : 2 + 3 * kFloatBytes);
}

MemoryEstimate estimate_memory(const Config& config, const ModelConfig& model, const Seats& seats,
                               bool head) {
  const int64_t element = model.dtype == "F32" ? kFloatBytes : 2;
  const int64_t weights = parameters(model) * element;
  MemoryEstimate estimate;
  const EngineOptions& engine = config.engine;
  // A generator has the version in use and the one that arrives, in fp32 on the CPU both of them in
  // the kernels' layout too.
  const bool kernels = engine.device == "cpu" && element == kFloatBytes;
  estimate.weights = weights * (1 + (kernels ? 4 : 2) * int64_t{seats.generators});
  const int64_t context = (model.max_context + engine.block_tokens - 1) / engine.block_tokens;
  const int64_t blocks = engine.kv_blocks > 0 ? engine.kv_blocks : context * engine.max_sequences;
  estimate.kv_cache = seats.generators * blocks * engine.block_tokens * 2 * model.layers *
                      model.kv_heads * model.head_dim * element;
  if (!head && seats.ranks == 0) return estimate;
  const bool reference = config.trainer.loss.kl_beta > 0 || config.trainer.loss.step_dpo_weight > 0;
  // The weights that learn, their gradient; the version that is sent; the start weights.
  const bool sends = head || ranks_serve_weights(config);
  const int64_t copies = 2 + (sends ? 1 : 0) + (reference ? 1 : 0);
  // Both moments, and a master copy of what isn't fp32 itself; each rank has its share.
  const int64_t states = element == kFloatBytes ? 2 : 3;
  const int64_t ranks = 1 + int64_t{all_seats(config.cluster).ranks};
  estimate.optimizer = copies * weights + states * kFloatBytes * parameters(model) / ranks;
  return estimate;
}

}  // namespace tracewise
