#include "model/model_config.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "model/json_fields.hpp"
#include "model/rope_scaling.hpp"

namespace tracewise {
namespace {

using nlohmann::json;

constexpr const char* kLlama = "LlamaForCausalLM";
constexpr const char* kMistral = "MistralForCausalLM";
constexpr const char* kQwen2 = "Qwen2ForCausalLM";
constexpr const char* kQwen3 = "Qwen3ForCausalLM";

struct Family {
  const char* architecture;
  const char* model_type;
  int64_t kv_heads;  // of transformers where config.json has no num_key_value_heads; 0: heads
};
constexpr Family kFamilies[] = {
    {kLlama, "llama", 0}, {kMistral, "mistral", 8}, {kQwen2, "qwen2", 32}, {kQwen3, "qwen3", 32}};

template <class Text>
const Family* family_of(const Text& name) {
  const auto found = std::ranges::find_if(kFamilies, [&](const auto& family) {
    return name == family.architecture || name == family.model_type;
  });
  return found == std::end(kFamilies) ? nullptr : found;
}

// "A", "B" and "C"
std::string names_of(const char* Family::*name) {
  std::string names;
  for (const auto& family : kFamilies) {
    const bool last = &family == std::end(kFamilies) - 1;
    names += (names.empty() ? "\"" : last ? " and \"" : ", \"") + std::string(family.*name) + "\"";
  }
  return names;
}

// Limits far above any model of these families; they keep products of two sizes within 64 bits.
constexpr int64_t kMaxVocab = int64_t{1} << 24;
constexpr int64_t kMaxWidth = int64_t{1} << 20;
constexpr int64_t kMaxLayers = 4096;
constexpr int64_t kMaxContext = int64_t{1} << 30;

std::string read_architecture(const json& object, JsonFields& fields) {
  const json type = object.value("model_type", json());
  const auto* by_type = family_of(type);
  if (!fields.has("architectures")) {
    if (by_type) return by_type->architecture;
    fields.fail("\"architectures\" is missing and \"model_type\" is " + type.dump() +
                "; supported are " + names_of(&Family::model_type));
    return {};
  }
  const json& names = object["architectures"];
  if (!names.is_array() || names.size() != 1 || !names[0].is_string()) {
    fields.fail("\"architectures\" is " + names.dump() + ", but must be a list of one name");
    return {};
  }
  // transformers goes by model_type, so the two must say the same.
  if (by_type && names[0] != by_type->architecture) {
    fields.fail("\"model_type\" " + type.dump() + " does not go with \"architectures\" " +
                names.dump());
  }
  return names[0].get<std::string>();
}

// The window of layers with one, as transformers decides it: every layer of Mistral, those of Qwen
// that "layer_types" names, or else those from max_window_layers on.
void read_windows(const json& object, JsonFields& fields, ModelConfig& config) {
  const bool mistral = config.architecture == kMistral;
  const bool named = fields.has("layer_types");
  if (named && (!object["layer_types"].is_array() ||
                object["layer_types"].size() != static_cast<size_t>(config.layers))) {
    return fields.fail("\"layer_types\" is " + object["layer_types"].dump() +
                       ", but must have a type for each of " + std::to_string(config.layers) +
                       " layers");
  }
  int64_t window = 0;
  if (mistral || (config.architecture != kLlama && fields.flag("use_sliding_window"))) {
    const bool is_null = object.contains("sliding_window") && !fields.has("sliding_window");
    window = is_null ? 0 : fields.whole("sliding_window", 4096, 1, kMaxContext);
  } else if (config.architecture == kLlama) {
    if (fields.has("sliding_window")) fields.refuse("sliding_window");
    if (fields.flag("use_sliding_window")) fields.refuse("use_sliding_window");
  }
  const int64_t from = mistral ? 0 : fields.whole("max_window_layers", 28, 0, kMaxLayers);
  std::vector<int64_t> windows;
  for (int64_t i = 0; i < config.layers; ++i) {
    const json type = named
                          ? object["layer_types"][static_cast<size_t>(i)]
                          : json(window > 0 && i >= from ? "sliding_attention" : "full_attention");
    const bool slides = type == "sliding_attention";
    const bool known = slides || type == "full_attention";
    // All layers of Mistral are alike, and only a model with a window has layers that use it.
    if (!known || (slides && window == 0) || (mistral && slides != (window > 0)))
      fields.refuse("a layer of type " + type.dump());
    windows.push_back(slides ? window : 0);
  }
  if (std::ranges::any_of(windows, [](int64_t w) { return w > 0; })) config.windows = windows;
}

// Everything that changes what the network computes and that the decoder does not compute.
void refuse_features(const json& object, JsonFields& fields, const ModelConfig& config) {
  const json activation = object.value("hidden_act", json("silu"));
  if (activation != "silu" && activation != "swish")
    fields.refuse("hidden_act " + activation.dump());
  if (fields.flag("mlp_bias")) fields.refuse("mlp_bias");
  // Here attention_bias also gives o_proj a bias; Qwen2's q, k, v biases need no such key.
  if (config.architecture != kQwen2 && fields.flag("attention_bias")) {
    fields.refuse("attention_bias");
  }
  const json dropout = object.value("attention_dropout", json(0.0));
  if (!dropout.is_null() && dropout != 0.0) fields.refuse("attention_dropout " + dropout.dump());
  for (const char* key : {"quantization_config", "auto_map", "num_experts", "num_local_experts"}) {
    if (fields.has(key)) fields.refuse(key);
  }
}

std::string read_dtype(const json& object, JsonFields& fields) {
  const char* key = fields.has("dtype") ? "dtype" : "torch_dtype";
  if (!fields.has(key)) return "F32";
  if (object[key] == "float32") return "F32";
  if (object[key] == "bfloat16") return "BF16";
  if (object[key] == "float16") return "F32";  // which holds all of its values
  fields.refuse(std::string(key) + " " + object[key].dump());
  return "F32";
}

void read_special_tokens(const json& object, JsonFields& fields, ModelConfig& config) {
  // Some checkpoints write -1 for "none".
  const int64_t high = config.vocab_size - 1;
  config.bos_token = static_cast<int32_t>(fields.whole("bos_token_id", -1, -1, high));
  config.pad_token = static_cast<int32_t>(fields.whole("pad_token_id", -1, -1, high));
  if (!fields.has("eos_token_id")) return;
  const json& eos = object["eos_token_id"];
  for (const json& id : eos.is_array() ? eos : json::array({eos})) {
    const json holder = {{"eos_token_id", id}};
    const std::string no_place;
    JsonFields one(holder, no_place);
    config.eos_tokens.push_back(static_cast<int32_t>(one.whole("eos_token_id", {}, 0, high)));
    if (one.error()) {
      fields.fail("\"eos_token_id\" holds " + id.dump() + ", but must hold ids from 0 to " +
                  std::to_string(high));
    }
  }
}

Result<void> check_windows(const ModelConfig& config, const std::string& place) {
  if (config.windows.empty()) return {};
  const int64_t window = std::ranges::max(config.windows);
  const bool fits = config.windows.size() == static_cast<size_t>(config.layers) && window > 0 &&
                    std::ranges::all_of(config.windows, [&](int64_t w) {
                      return w == window || (w == 0 && config.architecture != kMistral);
                    });
  if (fits && config.architecture != kLlama) return {};
  return bad_input(place + ": sliding windows do not go with " + config.architecture +
                   ", or not these");
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
  if (family_of(name) == nullptr) {
    return unsupported(place + ": architecture \"" + name + "\" is not supported; " +
                       names_of(&Family::architecture) + " are");
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
  if (config.rope_scaling.kind == RopeScaling::Kind::kDynamic && config.head_dim < 4)
    return wrong("head_dim is " + std::to_string(config.head_dim) + ", too small for dynamic RoPE");
  TW_TRY(check_windows(config, place));
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
  JsonFields fields(object, place);
  ModelConfig config;
  config.architecture = read_architecture(object, fields);
  config.qkv_bias = config.architecture == kQwen2;
  config.qk_norm = config.architecture == kQwen3;
  if (fields.error()) return *fields.error();
  const Family* family = family_of(config.architecture);
  if (family == nullptr) return check_model_config(config, place).error();
  config.vocab_size = fields.whole("vocab_size", {}, 1, kMaxVocab);
  config.width = fields.whole("hidden_size", {}, 1, kMaxWidth);
  config.layers = fields.whole("num_hidden_layers", {}, 1, kMaxLayers);
  config.heads = fields.whole("num_attention_heads", {}, 1, kMaxWidth);
  const bool assumed = family->kv_heads > 0 && !object.contains("num_key_value_heads");
  config.kv_heads =
      fields.whole("num_key_value_heads", assumed ? family->kv_heads : config.heads, 1, kMaxWidth);
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
  read_rope(fields, config);
  read_windows(object, fields, config);
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
                 {"model_type", family_of(config.architecture)->model_type},
                 {"vocab_size", config.vocab_size},
                 {"hidden_size", config.width},
                 {"intermediate_size", config.mlp_width},
                 {"num_hidden_layers", config.layers},
                 {"num_attention_heads", config.heads},
                 {"num_key_value_heads", config.kv_heads},
                 {"head_dim", config.head_dim},
                 {"hidden_act", "silu"},
                 {"max_position_embeddings", max_position_embeddings(config)},
                 {"rms_norm_eps", config.norm_eps},
                 {"rope_theta", config.rope_theta},
                 {"rope_scaling", rope_scaling_json(config.rope_scaling)},
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
  if (config.architecture == kLlama) {
    object["mlp_bias"] = false;
    return object.dump(2) + "\n";
  }
  const int64_t window = config.windows.empty() ? 0 : std::ranges::max(config.windows);
  object["sliding_window"] = window > 0 ? json(window) : json();
  if (config.architecture == kMistral) return object.dump(2) + "\n";
  object["use_sliding_window"] = window > 0;
  if (window > 0) {
    for (const int64_t w : config.windows)
      object["layer_types"].push_back(w > 0 ? "sliding_attention" : "full_attention");
  }
  return object.dump(2) + "\n";
}

}  // namespace tracewise
