// The architecture of a decoder, as Hugging Face's config.json states it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "messages/result.hpp"

namespace tracewise {

struct ModelConfig {
  std::string architecture = "LlamaForCausalLM";  // or Qwen2ForCausalLM, Qwen3ForCausalLM
  int64_t vocab_size = 0;
  int64_t width = 0;        // hidden_size
  int64_t layers = 0;       // num_hidden_layers
  int64_t heads = 0;        // num_attention_heads
  int64_t kv_heads = 0;     // num_key_value_heads; divides heads
  int64_t head_dim = 0;     // even
  int64_t mlp_width = 0;    // intermediate_size
  int64_t max_context = 0;  // max_position_embeddings, in tokens
  double rope_theta = 10000.0;
  double norm_eps = 1e-5;
  bool tied_head = false;     // tie_word_embeddings
  bool qkv_bias = false;      // Qwen2
  bool qk_norm = false;       // Qwen3: RMSNorm over head_dim on q and k before RoPE
  std::string dtype = "F32";  // of the stored weights: "F32" or "BF16"
  int32_t bos_token = -1;     // -1: none
  int32_t pad_token = -1;
  std::vector<int32_t> eos_tokens;
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

// Parses and checks config.json's text; `place` names it in errors. A feature that the decoder does
// not compute (rope scaling, sliding window, MoE, other activations) is kUnsupported by its name.
Result<ModelConfig> parse_model_config(const std::string& json, const std::string& place);

// The config.json that transformers loads. `config` must pass check_model_config.
std::string model_config_json(const ModelConfig& config);

}  // namespace tracewise
