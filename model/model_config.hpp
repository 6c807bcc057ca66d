// The architecture of a decoder, as Hugging Face's config.json states it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "messages/result.hpp"

namespace tracewise {

// How RoPE turns positions beyond the context that a model was pretrained with. As transformers
// computes it (modeling_rope_utils.py).
struct RopeScaling {
  // kLinear: positions divided by `factor` (Chen et al. 2023, arXiv:2306.15595).
  // kDynamic: NTK-aware; the base grows with the position, from original_context on.
  // kLlama3: long wavelengths divided by `factor`, short ones kept, a ramp between (Llama 3.1).
  // kYarn: the like over a ramp of rotations, and a temperature (Peng et al. 2023,
  // arXiv:2309.00071).
  enum class Kind : uint8_t { kNone, kLinear, kDynamic, kLlama3, kYarn };
  Kind kind = Kind::kNone;
  double factor = 1;                                 // >= 1
  int64_t original_context = 0;                      // tokens
  double low_freq_factor = 1, high_freq_factor = 4;  // kLlama3
  double beta_fast = 32, beta_slow = 1;              // kYarn: rotations at the ramp's ends
  bool truncate = true;                              // kYarn: ramp between whole dimensions
  double attention_factor = 1;                       // kYarn: of cos and sin
  bool operator==(const RopeScaling&) const = default;
};

// A low-rank adapter (LoRA, arXiv:2106.09685). The model computes with W + scale() * B A for the
// weight W [out, in] of each target; A [rank, in], B [out, rank].
struct AdapterConfig {
  int64_t rank = 0;                  // 0: there is no adapter
  double alpha = 0;                  // above 0
  bool rank_stabilized = false;      // rsLoRA, arXiv:2312.03732
  std::vector<std::string> targets;  // of adapter_modules() (model/adapter.hpp), in their order

  double scale() const;  // alpha / rank, or alpha / sqrt(rank) if rank_stabilized
  bool operator==(const AdapterConfig&) const = default;
};

struct ModelConfig {
  // Or MistralForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM.
  std::string architecture = "LlamaForCausalLM";
  int64_t vocab_size = 0;
  int64_t width = 0;        // hidden_size
  int64_t layers = 0;       // num_hidden_layers
  int64_t heads = 0;        // num_attention_heads
  int64_t kv_heads = 0;     // num_key_value_heads; divides heads
  int64_t head_dim = 0;     // even
  int64_t mlp_width = 0;    // intermediate_size
  int64_t max_context = 0;  // in tokens; max_position_embeddings, or what scaling makes of it
  double rope_theta = 10000.0;
  RopeScaling rope_scaling;
  // [layers] keys that a token sees in that layer, itself included; 0: all before it. Empty: all of
  // all layers.
  std::vector<int64_t> windows;
  double norm_eps = 1e-5;
  bool tied_head = false;     // tie_word_embeddings
  bool qkv_bias = false;      // Qwen2
  bool qk_norm = false;       // Qwen3: RMSNorm over head_dim on q and k before RoPE
  std::string dtype = "F32";  // of the weights: "F32" or "BF16"
  int32_t bos_token = -1;     // -1: none
  int32_t pad_token = -1;
  std::vector<int32_t> eos_tokens;
  AdapterConfig adapter;  // what is trained where there is one; adapter_config.json states it

  int64_t window(size_t layer) const { return windows.empty() ? 0 : windows.at(layer); }
  bool operator==(const ModelConfig&) const = default;
};

// A parameter of the decoder: its Hugging Face name and shape.
struct ParameterSpec {
  std::string name;
  std::vector<int64_t> shape;
  bool operator==(const ParameterSpec&) const = default;
};

// All parameters in the canonical order of a flat weights buffer. A tied head has no entry.
std::vector<ParameterSpec> parameter_specs(const ModelConfig& config);

// kBadInput with the field's name if the sizes contradict each other, are out of range, or do not
// belong to the architecture (qkv_bias is Qwen2's, qk_norm is Qwen3's).
Result<void> check_model_config(const ModelConfig& config, const std::string& place);

// Parses and checks config.json's text; `place` names it in errors. What transformers has a default
// for may be missing. A feature that the decoder does not compute (MoE, quantised weights, other
// attention or activations) is kUnsupported by its name.
Result<ModelConfig> parse_model_config(const std::string& json, const std::string& place);

// The config.json that transformers loads. `config` must pass check_model_config.
std::string model_config_json(const ModelConfig& config);

}  // namespace tracewise
