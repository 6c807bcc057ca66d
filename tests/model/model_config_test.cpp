#include "model/model_config.hpp"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "model/weights.hpp"
#include "tests/temp_dir.hpp"

namespace tracewise {
namespace {

using nlohmann::json;

json golden_config(const std::string& name) {
  return json::parse(slurp(TRACEWISE_TEST_DATA "/models/" + name + "/config.json"));
}

// The error of golden llama's config with `key` set to `value`.
Error error_with(const std::string& key, const json& value, const std::string& model = "llama") {
  json object = golden_config(model);
  object[key] = value;
  const auto parsed = parse_model_config(object.dump(), "config.json");
  REQUIRE_FALSE(parsed.ok());
  return parsed.error();
}

TEST_CASE("the config that transformers saves for Qwen3 is read field by field") {
  const auto parsed = parse_model_config(golden_config("qwen3").dump(), "config.json");
  REQUIRE(parsed.ok());
  ModelConfig expected;
  expected.architecture = "Qwen3ForCausalLM";
  expected.vocab_size = 24;
  expected.width = 32;
  expected.layers = 2;
  expected.heads = 4;
  expected.kv_heads = 1;
  expected.head_dim = 12;
  expected.mlp_width = 24;
  expected.max_context = 96;
  expected.rope_theta = 1e6;
  expected.norm_eps = 1e-6;
  expected.qk_norm = true;
  expected.bos_token = 1;
  expected.pad_token = 0;
  expected.eos_tokens = {2};
  CHECK(*parsed == expected);
}

TEST_CASE("every golden config comes back from the config.json that we write") {
  for (const auto& dir : std::filesystem::directory_iterator(TRACEWISE_TEST_DATA "/models")) {
    const std::string name = dir.path().filename();
    INFO(name);
    const auto config = parse_model_config(golden_config(name).dump(), name);
    REQUIRE(config.ok());
    const auto again = parse_model_config(model_config_json(*config), name);
    REQUIRE(again.ok());
    CHECK(*again == *config);
  }
}

TEST_CASE("several end tokens, none at all and bf16 survive a config.json") {
  ModelConfig config = *parse_model_config(golden_config("llama").dump(), "config.json");
  config.eos_tokens = {2, 7};
  config.bos_token = -1;
  config.pad_token = -1;
  config.dtype = "BF16";
  CHECK(*parse_model_config(model_config_json(config), "config.json") == config);
  config.eos_tokens.clear();
  CHECK(*parse_model_config(model_config_json(config), "config.json") == config);
}

TEST_CASE("parameters have Hugging Face's names and order") {
  ModelConfig config = *parse_model_config(golden_config("qwen2").dump(), "config.json");
  config.layers = 1;
  config.tied_head = false;
  const std::string l = "model.layers.0.";
  const std::vector<ParameterSpec> expected = {{"model.embed_tokens.weight", {24, 32}},
                                               {l + "self_attn.q_proj.weight", {32, 32}},
                                               {l + "self_attn.q_proj.bias", {32}},
                                               {l + "self_attn.k_proj.weight", {16, 32}},
                                               {l + "self_attn.k_proj.bias", {16}},
                                               {l + "self_attn.v_proj.weight", {16, 32}},
                                               {l + "self_attn.v_proj.bias", {16}},
                                               {l + "self_attn.o_proj.weight", {32, 32}},
                                               {l + "mlp.gate_proj.weight", {24, 32}},
                                               {l + "mlp.up_proj.weight", {24, 32}},
                                               {l + "mlp.down_proj.weight", {32, 24}},
                                               {l + "input_layernorm.weight", {32}},
                                               {l + "post_attention_layernorm.weight", {32}},
                                               {"model.norm.weight", {32}},
                                               {"lm_head.weight", {24, 32}}};
  CHECK(parameter_specs(config) == expected);
}

TEST_CASE("a tied head has no parameter, and q and k norms come after o_proj") {
  CHECK(parameter_specs(*parse_model_config(golden_config("llama_tied").dump(), "")).back().name ==
        "model.norm.weight");
  const auto specs = parameter_specs(*parse_model_config(golden_config("qwen3").dump(), ""));
  CHECK(specs[4] == ParameterSpec{"model.layers.0.self_attn.o_proj.weight", {32, 48}});
  CHECK(specs[5] == ParameterSpec{"model.layers.0.self_attn.q_norm.weight", {12}});
  CHECK(specs[6] == ParameterSpec{"model.layers.0.self_attn.k_norm.weight", {12}});
}

TEST_CASE("tensors of a weights buffer start at multiples of 64 bytes") {
  ModelConfig config = *parse_model_config(golden_config("qwen3").dump(), "config.json");
  const WeightsManifest manifest = weights_layout(config);
  REQUIRE(manifest.tensors.size() == parameter_specs(config).size());
  CHECK(manifest.dtype == "F32");
  // model.embed_tokens 24*32*4 = 3072, q_proj 48*32*4 = 6144, k and v 12*32*4 = 1536, o 6144
  CHECK(manifest.tensors[1].offset == 3072);
  CHECK(manifest.tensors[2].offset == 9216);
  CHECK(manifest.tensors[3].offset == 10752);
  CHECK(manifest.tensors[4].offset == 12288);
  CHECK(manifest.tensors[5].offset == 18432);
  CHECK(manifest.tensors[5].bytes == 48);      // q_norm: 12 fp32
  CHECK(manifest.tensors[6].offset == 18496);  // not 18480
  config.dtype = "BF16";
  CHECK(weights_layout(config).tensors[5].bytes == 24);
}

TEST_CASE("a feature that the decoder does not compute is refused by name") {
  const struct {
    const char* key;
    json value;
    const char* named;
    const char* model;
  } cases[] = {
      {"rope_scaling",
       {{"rope_type", "longrope"}, {"factor", 4.0}},
       "rope_scaling of type \"longrope\"",
       "llama"},
      {"rope_parameters", {{"type", "mrope"}}, "rope_parameters of type \"mrope\"", "qwen2"},
      {"partial_rotary_factor", 0.5, "partial_rotary_factor 0.5", "llama"},
      {"hidden_act", "gelu", "hidden_act \"gelu\"", "llama"},
      {"attention_bias", true, "attention_bias", "llama"},
      {"attention_bias", true, "attention_bias", "qwen3"},
      {"mlp_bias", true, "mlp_bias", "llama"},
      {"use_sliding_window", true, "use_sliding_window", "llama"},
      {"sliding_window", 1024, "sliding_window", "llama"},
      {"layer_types", {"full_attention", "sliding_attention"}, "\"sliding_attention\"", "qwen3"},
      {"attention_dropout", 0.1, "attention_dropout 0.1", "llama"},
      {"quantization_config", {{"bits", 4}}, "quantization_config", "llama"},
      {"auto_map", {{"AutoModel", "x.Y"}}, "auto_map", "llama"},
      {"num_local_experts", 8, "num_local_experts", "llama"},
      {"layer_types", {"full_attention", "full_attention"}, "\"full_attention\"", "mistral"},
      {"dtype", "float8", "dtype \"float8\"", "llama"},
      {"architectures", {"MixtralForCausalLM"}, "\"MixtralForCausalLM\"", "llama"},
  };
  for (const auto& c : cases) {
    json object = golden_config(c.model);
    object[c.key] = c.value;
    if (std::string(c.key) == "architectures") object.erase("model_type");
    const auto parsed = parse_model_config(object.dump(), "dir/config.json");
    INFO(c.key);
    REQUIRE_FALSE(parsed.ok());
    CHECK(parsed.error().error_class == ErrorClass::kUnsupported);
    CHECK_THAT(parsed.error().message, Catch::Contains(c.named));
    CHECK_THAT(parsed.error().message, Catch::StartsWith("dir/config.json: "));
  }
}

TEST_CASE("rotary scaling is read as transformers reads it, and sets the context") {
  const auto read = [](const char* model, json scaling, int64_t positions) {
    json object = golden_config(model);
    object["rope_scaling"] = std::move(scaling);
    object["max_position_embeddings"] = positions;
    const auto parsed = parse_model_config(object.dump(), "config.json");
    INFO((parsed.ok() ? "" : parsed.error().message));
    REQUIRE(parsed.ok());
    return *parsed;
  };
  using Kind = RopeScaling::Kind;
  const ModelConfig linear = read("llama", {{"type", "linear"}, {"factor", 2.5}}, 4096);
  CHECK(linear.rope_scaling.kind == Kind::kLinear);
  CHECK(linear.max_context == 10240);
  CHECK(linear.rope_scaling.original_context == 4096);
  // Llama 3.1's own.
  const ModelConfig llama3 = read("llama",
                                  {{"rope_type", "llama3"},
                                   {"factor", 8.0},
                                   {"low_freq_factor", 1.0},
                                   {"high_freq_factor", 4.0},
                                   {"original_max_position_embeddings", 8192}},
                                  131072);
  CHECK(llama3.max_context == 131072);
  CHECK(llama3.rope_scaling.original_context == 8192);
  // What Qwen says to add for long texts: max_position_embeddings stays that of the pretraining.
  const ModelConfig yarn =
      read("qwen2",
           {{"type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 32768}}, 32768);
  CHECK(yarn.max_context == 131072);
  CHECK(yarn.rope_scaling.attention_factor == Approx(1.138629436));  // 0.1 ln 4 + 1
  const ModelConfig scaled = read(
      "llama", {{"rope_type", "yarn"}, {"factor", 4.0}, {"mscale", 2}, {"mscale_all_dim", 1}}, 64);
  CHECK(scaled.rope_scaling.attention_factor == Approx(1.277258872 / 1.138629436));

  const auto wrong = [](json scaling) { return error_with("rope_scaling", scaling).message; };
  CHECK(wrong({{"rope_type", "linear"}}) == "config.json: rope_scaling: \"factor\" is missing");
  CHECK_THAT(wrong({{"rope_type", "linear"}, {"factor", 0.5}}),
             Catch::Contains("\"factor\" is 0.5, but must be from 1 to"));
  CHECK_THAT(wrong({{"rope_type", "llama3"}, {"factor", 8.0}, {"low_freq_factor", 1.0}}),
             Catch::Contains("\"original_max_position_embeddings\" is missing"));
  CHECK_THAT(wrong("yarn"), Catch::Contains("must be an object"));
}

TEST_CASE("the layers with a sliding window are those that transformers slides") {
  const auto windows = [](const char* model, const json& changes) {
    json object = golden_config(model);
    object["num_hidden_layers"] = 4;
    object.erase("layer_types");
    object.merge_patch(changes);
    const auto parsed = parse_model_config(object.dump(), "config.json");
    INFO((parsed.ok() ? "" : parsed.error().message));
    REQUIRE(parsed.ok());
    return parsed->windows;
  };
  using Windows = std::vector<int64_t>;
  CHECK(windows("mistral", json::object()) == Windows{5, 5, 5, 5});
  json without = golden_config("mistral");
  without.erase("sliding_window");  // transformers' default
  CHECK(parse_model_config(without.dump(), "config.json")->windows == Windows{4096, 4096});
  without["sliding_window"] = nullptr;
  CHECK(parse_model_config(without.dump(), "config.json")->windows.empty());

  const json used = {{"use_sliding_window", true}, {"sliding_window", 9}};
  json late = used, named = used;
  late["max_window_layers"] = 2;
  CHECK(windows("qwen2", late) == Windows{0, 0, 9, 9});
  named["layer_types"] = {"sliding_attention", "full_attention", "full_attention",
                          "sliding_attention"};
  CHECK(windows("qwen3", named) == Windows{9, 0, 0, 9});
  CHECK(windows("qwen3", {{"use_sliding_window", false}}).empty());
  CHECK_THAT(error_with("layer_types", {"full_attention"}, "qwen3").message,
             Catch::Contains("a type for each of 2 layers"));
}

TEST_CASE("default rotary parameters and an unused sliding window are accepted") {
  json object = golden_config("qwen2");
  object["sliding_window"] = 4096;  // use_sliding_window is false
  object.erase("rope_theta");
  object["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", 500.0}};
  const auto parsed = parse_model_config(object.dump(), "config.json");
  REQUIRE(parsed.ok());
  CHECK(parsed->rope_theta == 500.0);
}

TEST_CASE("a wrong field is named with its value and its range") {
  CHECK(error_with("hidden_size", 32.5).message ==
        "config.json: \"hidden_size\" is 32.5, but must be a whole number from 1 to 1048576");
  CHECK(error_with("hidden_size", nullptr).message == "config.json: \"hidden_size\" is missing");
  CHECK(error_with("num_hidden_layers", -1).message ==
        "config.json: \"num_hidden_layers\" is -1, but must be a whole number from 1 to 4096");
  CHECK(error_with("vocab_size", 18446744073709551615ull).error_class == ErrorClass::kBadInput);
  CHECK(error_with("num_key_value_heads", 3).message ==
        "config.json: num_attention_heads 4 is no multiple of num_key_value_heads 3");
  CHECK_THAT(error_with("head_dim", 7).message, Catch::Contains("must be even"));
  CHECK_THAT(error_with("rms_norm_eps", 0).message, Catch::Contains("\"rms_norm_eps\" is 0"));
  CHECK_THAT(error_with("tie_word_embeddings", "yes").message, Catch::Contains("true or false"));
  CHECK_THAT(error_with("eos_token_id", {2, 24}).message, Catch::Contains("holds 24"));
  CHECK_THAT(error_with("bos_token_id", 24).message, Catch::Contains("from -1 to 23"));
  CHECK_THAT(error_with("model_type", "qwen2").message, Catch::Contains("does not go with"));
  CHECK_THAT(error_with("rope_scaling", 3).message, Catch::Contains("must be an object"));
}

TEST_CASE("text that is not a JSON object is bad input") {
  for (const char* text : {"", "{", "[]", "3", "{\"vocab_size\": }", "\xff"}) {
    const auto parsed = parse_model_config(text, "config.json");
    REQUIRE_FALSE(parsed.ok());
    CHECK(parsed.error().error_class == ErrorClass::kBadInput);
  }
}

}  // namespace
}  // namespace tracewise
