#include "model/adapter.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "messages/random.hpp"

namespace tracewise {
namespace {

// [out, in]
std::pair<int64_t, int64_t> module_shape(const ModelConfig& c, const std::string& module) {
  if (module == "q_proj") return {c.heads * c.head_dim, c.width};
  if (module == "k_proj" || module == "v_proj") return {c.kv_heads * c.head_dim, c.width};
  if (module == "o_proj") return {c.width, c.heads * c.head_dim};
  if (module == "gate_proj" || module == "up_proj") return {c.mlp_width, c.width};
  TW_CHECK(module == "down_proj", "no module of a layer: " + module);
  return {c.width, c.mlp_width};
}

}  // namespace

double AdapterConfig::scale() const {
  const auto r = static_cast<double>(rank);
  return alpha / (rank_stabilized ? std::sqrt(r) : r);
}

const std::vector<std::string>& adapter_modules() {
  static const std::vector<std::string> modules = {"q_proj",    "k_proj",  "v_proj",   "o_proj",
                                                   "gate_proj", "up_proj", "down_proj"};
  return modules;
}

std::string module_path(const std::string& module) {
  const bool in_mlp = module == "gate_proj" || module == "up_proj" || module == "down_proj";
  return (in_mlp ? "mlp." : "self_attn.") + module;
}

std::string adapter_tensor_name(int64_t layer, const std::string& module, char factor) {
  return "base_model.model.model.layers." + std::to_string(layer) + "." + module_path(module) +
         ".lora_" + factor + ".weight";
}

std::vector<ParameterSpec> adapter_specs(const ModelConfig& config) {
  std::vector<ParameterSpec> specs;
  const int64_t rank = config.adapter.rank;
  for (int64_t layer = 0; rank > 0 && layer < config.layers; ++layer) {
    for (const std::string& module : config.adapter.targets) {
      const auto [out, in] = module_shape(config, module);
      specs.push_back({adapter_tensor_name(layer, module, 'A'), {rank, in}});
      specs.push_back({adapter_tensor_name(layer, module, 'B'), {out, rank}});
    }
  }
  return specs;
}

WeightsManifest version_layout(const ModelConfig& config) {
  return config.adapter.rank > 0 ? layout_of(adapter_specs(config), "F32") : weights_layout(config);
}

Result<void> check_adapter_config(const AdapterConfig& adapter, const std::string& place) {
  if (adapter.rank < 1) return bad_input(place + ": an adapter's rank must be at least 1");
  if (!(adapter.alpha > 0) || !std::isfinite(adapter.alpha))
    return bad_input(place + ": an adapter's alpha must be a number above 0");
  const auto& modules = adapter_modules();
  if (adapter.targets.empty()) return bad_input(place + ": the adapter has no target");
  auto next = modules.begin();
  for (const std::string& target : adapter.targets) {
    next = std::find(next, modules.end(), target);
    if (next == modules.end()) {
      return bad_input(place + ": '" + target +
                       "' is not, or twice or out of order, among the modules that an adapter may "
                       "target: q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj");
    }
    ++next;
  }
  return {};
}

WeightsPtr initial_adapter(const ModelConfig& config, WeightsPtr base, uint64_t seed) {
  TW_CHECK(config.adapter.rank > 0 && base && base->manifest().base_checksum == 0,
           "an adapter has a rank and a base");
  WeightsManifest manifest = version_layout(config);
  auto bytes = allocate_weights(manifest.bytes);
  std::memset(bytes.get(), 0, manifest.bytes);
  SplitMix random(seed);
  for (const TensorEntry& tensor : manifest.tensors) {
    if (!tensor.name.ends_with(".lora_A.weight")) continue;
    auto* x = reinterpret_cast<float*>(bytes.get() + tensor.offset);
    const double bound = 1 / std::sqrt(static_cast<double>(tensor.shape.back()));
    for (uint64_t i = 0; i < tensor.bytes / sizeof(float); ++i)
      x[i] = static_cast<float>(bound * (2 * random.uniform() - 1));
  }
  manifest.checksum = weights_checksum({bytes.get(), manifest.bytes});
  manifest.base_checksum = base->manifest().checksum;
  return std::make_shared<Weights>(std::move(manifest), std::move(bytes), std::move(base));
}

}  // namespace tracewise
