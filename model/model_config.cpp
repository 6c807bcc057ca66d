#include "model/model_config.hpp"

#include <limits>
#include <nlohmann/json.hpp>
#include <optional>

namespace tracewise {
namespace {

using nlohmann::json;

constexpr const char* kLlama = "LlamaForCausalLM";
constexpr const char* kQwen2 = "Qwen2ForCausalLM";
constexpr const char* kQwen3 = "Qwen3ForCausalLM";

// Limits far above any model of these families; they keep products of two sizes within 64 bits.
constexpr int64_t kMaxVocab = int64_t{1} << 24;
constexpr int64_t kMaxWidth = int64_t{1} << 20;
constexpr int64_t kMaxLayers = 4096;
constexpr int64_t kMaxContext = int64_t{1} << 30;

// Reads fields of one JSON object; the first thing wrong is kept and later reads return fallbacks.
class Fields {
 public:
  Fields(const json& object, const std::string& place) : object_(object), place_(place) {}

  static bool has_in(const json& object, const char* key) {
    return object.contains(key) && !object[key].is_null();
  }
  bool has(const char* key) const { return has_in(object_, key); }

  int64_t whole(const char* key, std::optional<int64_t> fallback, int64_t low, int64_t high) {
    if (!has(key)) {
      if (!fallback) fail(std::string("\"") + key + "\" is missing");
      return fallback.value_or(low);
    }
    const json& value = object_[key];
    const bool fits = value.is_number_integer() &&
                      (!value.is_number_unsigned() ||
                       value.get<uint64_t>() <= uint64_t{std::numeric_limits<int64_t>::max()}) &&
                      value.get<int64_t>() >= low && value.get<int64_t>() <= high;
    if (!fits) {
      fail(std::string("\"") + key + "\" is " + value.dump() +
           ", but must be a whole number from " + std::to_string(low) + " to " +
           std::to_string(high));
      return low;
    }
    return value.get<int64_t>();
  }

  double positive(const char* key, double fallback) {
    if (!has(key)) return fallback;
    const json& value = object_[key];
    if (!value.is_number() || !(value.get<double>() > 0)) {
      fail(std::string("\"") + key + "\" is " + value.dump() + ", but must be a number above 0");
      return fallback;
    }
    return value.get<double>();
  }

  bool flag(const char* key) {
    if (!has(key)) return false;
    if (!object_[key].is_boolean()) {
      fail(std::string("\"") + key + "\" is " + object_[key].dump() +
           ", but must be true or false");
      return false;
    }
    return object_[key].get<bool>();
  }

  void fail(std::string what) {
    if (!error_) error_ = bad_input(place_ + ": " + std::move(what));
  }
  void refuse(std::string what) {
    if (!error_) error_ = unsupported(place_ + ": " + std::move(what) + " is not supported");
  }
  const std::optional<Error>& error() const { return error_; }

 private:
  const json& object_;
  const std::string& place_;
  std::optional<Error> error_;
};

std::string read_architecture(const json& object, Fields& fields) {
  const json type = object.value("model_type", json());
  const char* by_type = type == "llama"   ? kLlama
                        : type == "qwen2" ? kQwen2
                        : type == "qwen3" ? kQwen3
                                          : nullptr;
  if (!fields.has("architectures")) {
    if (by_type) return by_type;
    fields.fail("\"architectures\" is missing and \"model_type\" is " + type.dump() +
                ", not \"llama\", \"qwen2\" or \"qwen3\"");
    return {};
  }
  const json& names = object["architectures"];
  if (!names.is_array() || names.size() != 1 || !names[0].is_string()) {
    fields.fail("\"architectures\" is " + names.dump() + ", but must be a list of one name");
    return {};
  }
  // transformers goes by model_type, so the two must say the same.
  if (by_type && names[0] != by_type) {
    fields.fail("\"model_type\" " + type.dump() + " does not go with \"architectures\" " +
                names.dump());
  }
  return names[0].get<std::string>();
}

void refuse_partial_rotary(const json& object, Fields& fields) {
  if (!fields.has_in(object, "partial_rotary_factor")) return;
  const json& factor = object["partial_rotary_factor"];
  if (factor != 1.0) fields.refuse("partial_rotary_factor " + factor.dump());
}

// RoPE is computed without scaling. transformers 5 moved rope_theta into "rope_parameters".
void read_rope(const json& object, Fields& fields, ModelConfig& config) {
  config.rope_theta = fields.positive("rope_theta", 10000.0);
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    if (!fields.has(key)) continue;
    const json& rope = object[key];
    if (!rope.is_object()) {
      fields.fail(std::string("\"") + key + "\" is " + rope.dump() + ", but must be an object");
      return;
    }
    const json type = rope.value("rope_type", rope.value("type", json("default")));
    if (type != "default") fields.refuse(std::string(key) + " of type " + type.dump());
    const std::string no_place;
    Fields rope_fields(rope, no_place);
    refuse_partial_rotary(rope, fields);
    config.rope_theta = rope_fields.positive("rope_theta", config.rope_theta);
    if (rope_fields.error()) fields.fail(std::string(key) + rope_fields.error()->message);
  }
  refuse_partial_rotary(object, fields);
}

// Everything that changes what the network computes and that the decoder does not compute.
void refuse_features(const json& object, Fields& fields, const ModelConfig& config) {
  const json activation = object.value("hidden_act", json("silu"));
  if (activation != "silu" && activation != "swish")
    fields.refuse("hidden_act " + activation.dump());
  if (fields.flag("mlp_bias")) fields.refuse("mlp_bias");
  // Here attention_bias also gives o_proj a bias; Qwen2's q, k, v biases need no such key.
  if (config.architecture != kQwen2 && fields.flag("attention_bias")) {
    fields.refuse("attention_bias");
  }
  if (fields.flag("use_sliding_window")) fields.refuse("use_sliding_window");
  if (config.architecture == kLlama && fields.has("sliding_window")) {
    fields.refuse("sliding_window");
  }
  if (fields.has("layer_types")) {
    for (const json& type : object["layer_types"]) {
      if (type != "full_attention") fields.refuse("a layer of type " + type.dump());
    }
  }
  const json dropout = object.value("attention_dropout", json(0.0));
  if (!dropout.is_null() && dropout != 0.0) fields.refuse("attention_dropout " + dropout.dump());
  for (const char* key : {"quantization_config", "auto_map", "num_experts", "num_local_experts"}) {
    if (fields.has(key)) fields.refuse(key);
  }
}

std::string read_dtype(const json& object, Fields& fields) {
  const char* key = fields.has("dtype") ? "dtype" : "torch_dtype";
  if (!fields.has(key)) return "F32";
  if (object[key] == "float32") return "F32";
  if (object[key] == "bfloat16") return "BF16";
  fields.refuse(std::string(key) + " " + object[key].dump());
  return "F32";
}

void read_special_tokens(const json& object, Fields& fields, ModelConfig& config) {
  // Some checkpoints write -1 for "none".
  const int64_t high = config.vocab_size - 1;
  config.bos_token = static_cast<int32_t>(fields.whole("bos_token_id", -1, -1, high));
  config.pad_token = static_cast<int32_t>(fields.whole("pad_token_id", -1, -1, high));
  if (!fields.has("eos_token_id")) return;
  const json& eos = object["eos_token_id"];
  for (const json& id : eos.is_array() ? eos : json::array({eos})) {
    const json holder = {{"eos_token_id", id}};
    const std::string no_place;
    Fields one(holder, no_place);
    config.eos_tokens.push_back(static_cast<int32_t>(one.whole("eos_token_id", {}, 0, high)));
    if (one.error()) {
      fields.fail("\"eos_token_id\" holds " + id.dump() + ", but must hold ids from 0 to " +
                  std::to_string(high));
    }
  }
}

}  // namespace

std::vector<ParameterSpec> parameter_specs(const ModelConfig& config) {
  const int64_t q_width = config.heads * config.head_dim;
  const int64_t kv_width = config.kv_heads * config.head_dim;
  std::vector<ParameterSpec> specs;
  specs.push_back({"model.embed_tokens.weight", {config.vocab_size, config.width}});
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    const std::string prefix = "model.layers." + std::to_string(layer) + ".";
    const auto add = [&](const std::string& name, std::vector<int64_t> shape) {
      specs.push_back({prefix + name, std::move(shape)});
    };
    const auto add_projection = [&](const std::string& name, int64_t out) {
      add(name + ".weight", {out, config.width});
      if (config.qkv_bias) add(name + ".bias", {out});
    };
    add_projection("self_attn.q_proj", q_width);
    add_projection("self_attn.k_proj", kv_width);
    add_projection("self_attn.v_proj", kv_width);
    add("self_attn.o_proj.weight", {config.width, q_width});
    if (config.qk_norm) {
      add("self_attn.q_norm.weight", {config.head_dim});
      add("self_attn.k_norm.weight", {config.head_dim});
    }
    add("mlp.gate_proj.weight", {config.mlp_width, config.width});
    add("mlp.up_proj.weight", {config.mlp_width, config.width});
    add("mlp.down_proj.weight", {config.width, config.mlp_width});
    add("input_layernorm.weight", {config.width});
    add("post_attention_layernorm.weight", {config.width});
  }
  specs.push_back({"model.norm.weight", {config.width}});
  if (!config.tied_head) specs.push_back({"lm_head.weight", {config.vocab_size, config.width}});
  return specs;
}

Result<void> check_model_config(const ModelConfig& config, const std::string& place) {
  const auto wrong = [&](const std::string& what) { return bad_input(place + ": " + what); };
  const std::string& name = config.architecture;
  if (name != kLlama && name != kQwen2 && name != kQwen3) {
    return unsupported(place + ": architecture \"" + name + "\" is not supported; \"" + kLlama +
                       "\", \"" + kQwen2 + "\" and \"" + kQwen3 + "\" are");
  }
  if (config.qkv_bias != (name == kQwen2)) return wrong("q, k, v biases do not go with " + name);
  if (config.qk_norm != (name == kQwen3)) return wrong("q and k norms do not go with " + name);
  const struct {
    const char* field;
    int64_t value, high;
  } sizes[] = {{"vocab_size", config.vocab_size, kMaxVocab},
               {"hidden_size", config.width, kMaxWidth},
               {"num_hidden_layers", config.layers, kMaxLayers},
               {"num_attention_heads", config.heads, kMaxWidth},
               {"num_key_value_heads", config.kv_heads, kMaxWidth},
               {"head_dim", config.head_dim, kMaxWidth},
               {"intermediate_size", config.mlp_width, kMaxWidth},
               {"max_position_embeddings", config.max_context, kMaxContext}};
  for (const auto& size : sizes) {
    if (size.value < 1 || size.value > size.high) {
      return wrong(std::string(size.field) + " is " + std::to_string(size.value) +
                   ", but must be from 1 to " + std::to_string(size.high));
    }
  }
  if (config.heads % config.kv_heads != 0) {
    return wrong("num_attention_heads " + std::to_string(config.heads) +
                 " is no multiple of num_key_value_heads " + std::to_string(config.kv_heads));
  }
  if (config.head_dim % 2 != 0) {
    return wrong("head_dim is " + std::to_string(config.head_dim) +
                 ", but must be even for rotary embeddings");
  }
  if (config.heads * config.head_dim > kMaxWidth) {
    return wrong("num_attention_heads times head_dim is above " + std::to_string(kMaxWidth));
  }
  if (!(config.rope_theta > 0) || !(config.norm_eps > 0)) {
    return wrong("rope_theta and rms_norm_eps must be above 0");
  }
  if (config.dtype != "F32" && config.dtype != "BF16") {
    return unsupported(place + ": dtype \"" + config.dtype +
                       "\" is not supported; F32 and BF16 are");
  }
  return {};
}

Result<ModelConfig> parse_model_config(const std::string& text, const std::string& place) {
  json object = json::parse(text, nullptr, false);
  if (object.is_discarded()) return bad_input(place + ": not valid JSON");
  if (!object.is_object()) return bad_input(place + ": not a JSON object");
  Fields fields(object, place);
  ModelConfig config;
  config.architecture = read_architecture(object, fields);
  config.qkv_bias = config.architecture == kQwen2;
  config.qk_norm = config.architecture == kQwen3;
  if (fields.error()) return *fields.error();
  if (config.architecture != kLlama && !config.qkv_bias && !config.qk_norm) {
    return check_model_config(config, place).error();
  }
  config.vocab_size = fields.whole("vocab_size", {}, 1, kMaxVocab);
  config.width = fields.whole("hidden_size", {}, 1, kMaxWidth);
  config.layers = fields.whole("num_hidden_layers", {}, 1, kMaxLayers);
  config.heads = fields.whole("num_attention_heads", {}, 1, kMaxWidth);
  config.kv_heads = fields.whole("num_key_value_heads", config.heads, 1, kMaxWidth);
  config.mlp_width = fields.whole("intermediate_size", {}, 1, kMaxWidth);
  config.max_context = fields.whole("max_position_embeddings", {}, 1, kMaxContext);
  if (fields.error()) return *fields.error();
  if (!fields.has("head_dim") && !config.qk_norm && config.width % config.heads != 0) {
    fields.fail("hidden_size " + std::to_string(config.width) +
                " is no multiple of num_attention_heads " + std::to_string(config.heads) +
                ", and there is no head_dim");
  }
  // Qwen3's default in transformers is 128, whatever the width.
  const int64_t default_head_dim = config.qk_norm ? 128 : config.width / config.heads;
  config.head_dim = fields.whole("head_dim", default_head_dim, 1, kMaxWidth);
  config.norm_eps = fields.positive("rms_norm_eps", 1e-6);
  config.tied_head = fields.flag("tie_word_embeddings");
  config.dtype = read_dtype(object, fields);
  read_rope(object, fields, config);
  refuse_features(object, fields, config);
  read_special_tokens(object, fields, config);
  if (fields.error()) return *fields.error();
  TW_TRY(check_model_config(config, place));
  return config;
}

std::string model_config_json(const ModelConfig& config) {
  const auto checked = check_model_config(config, "model config");
  TW_CHECK(checked.ok(), checked.error().message);
  const auto id_or_null = [](int32_t id) { return id < 0 ? json() : json(id); };
  json object = {{"architectures", {config.architecture}},
                 {"model_type", config.qkv_bias  ? "qwen2"
                                : config.qk_norm ? "qwen3"
                                                 : "llama"},
                 {"vocab_size", config.vocab_size},
                 {"hidden_size", config.width},
                 {"intermediate_size", config.mlp_width},
                 {"num_hidden_layers", config.layers},
                 {"num_attention_heads", config.heads},
                 {"num_key_value_heads", config.kv_heads},
                 {"head_dim", config.head_dim},
                 {"hidden_act", "silu"},
                 {"max_position_embeddings", config.max_context},
                 {"rms_norm_eps", config.norm_eps},
                 {"rope_theta", config.rope_theta},
                 {"rope_scaling", nullptr},
                 {"attention_dropout", 0.0},
                 {"tie_word_embeddings", config.tied_head},
                 {"torch_dtype", config.dtype == "F32" ? "float32" : "bfloat16"},
                 {"use_cache", true},
                 {"bos_token_id", id_or_null(config.bos_token)},
                 {"pad_token_id", id_or_null(config.pad_token)}};
  object["eos_token_id"] = config.eos_tokens.empty()       ? json()
                           : config.eos_tokens.size() == 1 ? json(config.eos_tokens[0])
                                                           : json(config.eos_tokens);
  if (!config.qkv_bias) object["attention_bias"] = false;
  if (config.architecture == kLlama) object["mlp_bias"] = false;
  if (config.architecture != kLlama) {
    object["use_sliding_window"] = false;
    object["sliding_window"] = nullptr;
  }
  return object.dump(2) + "\n";
}

}  // namespace tracewise
