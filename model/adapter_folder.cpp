#include "model/adapter_folder.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "model/adapter.hpp"
#include "model/dtype.hpp"
#include "model/file_io.hpp"
#include "model/json_fields.hpp"
#include "model/safetensors.hpp"
#include "model/whole_folder.hpp"

namespace tracewise {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr FolderKind kAdapterKind = {"an adapter's folder", "adapter_config.json"};
constexpr const char* kTensors = "adapter_model.safetensors";
constexpr uint64_t kMaxConfigBytes = uint64_t{1} << 20;

// Fields that change nothing of what an adapter computes once it is trained; those above are read.
constexpr std::array kHarmless = {"peft_type",           "r",
                                  "lora_alpha",          "use_rslora",
                                  "target_modules",      "bias",
                                  "auto_mapping",        "base_model_name_or_path",
                                  "inference_mode",      "revision",
                                  "peft_version",        "megatron_core",
                                  "task_type",           "qalora_group_size",
                                  "ensure_weight_tying", "runtime_config",
                                  "lora_dropout",        "eva_config",
                                  "loftq_config",        "init_lora_weights",
                                  "lora_ga_config"};

bool says_nothing(const json& value) {
  return value.is_null() || value == false ||
         ((value.is_array() || value.is_object()) && value.empty());
}

// What makes another computation of the same tensors, or needs another base.
void refuse_others(JsonFields& fields) {
  const json& object = fields.object();
  const std::string type = object.value("peft_type", json()).dump();
  if (type != "\"LORA\"") fields.refuse("peft_type " + type);
  if (fields.has("bias") && object["bias"] != "none")
    fields.refuse("bias " + object["bias"].dump());
  // These take a part of the base's weights into A and B; what is left of them is another base.
  if (fields.has("init_lora_weights") && object["init_lora_weights"].is_string()) {
    const auto init = object["init_lora_weights"].get<std::string>();
    if (init.starts_with("pissa") || init == "olora" || init == "corda" || init == "loftq")
      fields.refuse("init_lora_weights \"" + init + "\"");
  }
  for (const auto& [key, value] : object.items()) {
    const bool known = std::ranges::any_of(kHarmless, [&](const char* k) { return key == k; });
    if (!known && !says_nothing(value)) fields.refuse(key + " " + value.dump());
  }
}

std::vector<std::string> read_targets(JsonFields& fields) {
  if (!fields.has("target_modules")) {
    fields.fail("\"target_modules\" is missing");
    return {};
  }
  const json& stated = fields.object()["target_modules"];
  const auto& modules = adapter_modules();
  if (stated == "all-linear") return modules;
  if (!stated.is_array()) {
    fields.refuse("target_modules " + stated.dump() + ", which is no list of names,");
    return {};
  }
  std::set<std::string> named;
  for (const json& module : stated) {
    const std::string name = module.is_string() ? module.get<std::string>() : "";
    if (std::ranges::find(modules, name) == modules.end()) {
      fields.refuse("target module " + module.dump());
      return {};
    }
    named.insert(name);
  }
  std::vector<std::string> targets;
  for (const std::string& module : modules)
    if (named.contains(module)) targets.push_back(module);
  return targets;
}

std::string shape_text(const std::vector<int64_t>& shape) { return json(shape).dump(); }

// A and B of another base, or of modules that the config does not name.
Result<void> check_tensors(const SafetensorsFile& file, const std::string& place,
                           const ModelConfig& config) {
  std::set<std::string> wanted;
  for (const ParameterSpec& spec : adapter_specs(config)) {
    wanted.insert(spec.name);
    const TensorView* tensor = file.find(spec.name);
    if (tensor == nullptr) {
      return bad_input(place + ": tensor \"" + spec.name + "\" is missing; the base model has " +
                       std::to_string(config.layers) + " layers, each with every target module");
    }
    const std::string here = place + ": tensor \"" + spec.name + "\" has ";
    if (tensor->shape != spec.shape) {
      return bad_input(here + "shape " + shape_text(tensor->shape) +
                       ", but with this base model and rank it must be " + shape_text(spec.shape) +
                       "; the adapter is another model's");
    }
    if (tensor->dtype != "F32" && tensor->dtype != "BF16" && tensor->dtype != "F16")
      return unsupported(here + "dtype " + tensor->dtype + "; F32, BF16 and F16 are supported");
    if (const auto at = first_not_finite(tensor->dtype, tensor->bytes))
      return corrupt(here + "a NaN or an infinity at element " + std::to_string(*at));
  }
  for (const TensorView& tensor : file.tensors()) {
    if (wanted.contains(tensor.name)) continue;
    return bad_input(place + ": tensor \"" + tensor.name +
                     "\" belongs to no target module of a base with " +
                     std::to_string(config.layers) + " layers");
  }
  return {};
}

}  // namespace

Result<AdapterConfig> read_adapter_config(const fs::path& dir) {
  const fs::path path = dir / kAdapterKind.marker;
  TW_ASSIGN(const std::string text, read_file(path, kMaxConfigBytes));
  const json object = json::parse(text, nullptr, false);
  if (!object.is_object()) return bad_input(path.string() + ": not a JSON object");
  const std::string place = path.string();
  JsonFields fields(object, place);
  refuse_others(fields);
  AdapterConfig adapter;
  adapter.rank = fields.whole("r", {}, 1, 1 << 16);
  adapter.alpha = fields.positive("lora_alpha", {});
  adapter.rank_stabilized = fields.flag("use_rslora");
  adapter.targets = read_targets(fields);
  if (fields.error()) return *fields.error();
  TW_TRY(check_adapter_config(adapter, place));
  return adapter;
}

Result<WeightsPtr> load_adapter(const fs::path& dir, WeightsPtr base, ModelConfig& config) {
  if (!is_present(dir / kTensors) && is_present(dir / "adapter_model.bin"))
    return unsupported((dir / "adapter_model.bin").string() + " is not supported; " + kTensors +
                       " is");
  ModelConfig adapted = config;
  TW_ASSIGN(adapted.adapter, read_adapter_config(dir));
  const fs::path path = dir / kTensors;
  TW_ASSIGN(const SafetensorsFile file, SafetensorsFile::open(path));
  TW_TRY(check_tensors(file, path.string(), adapted));
  WeightsManifest manifest = version_layout(adapted);
  auto bytes = allocate_weights(manifest.bytes);
  std::memset(bytes.get(), 0, manifest.bytes);
  for (const TensorEntry& entry : manifest.tensors) {
    const TensorView& tensor = *file.find(entry.name);
    convert_elements(tensor.dtype, tensor.bytes, manifest.dtype, bytes.get() + entry.offset);
  }
  manifest.checksum = weights_checksum({bytes.get(), manifest.bytes});
  manifest.base_checksum = base->manifest().checksum;
  config = std::move(adapted);
  return WeightsPtr(
      std::make_shared<Weights>(std::move(manifest), std::move(bytes), std::move(base)));
}

Result<void> check_adapter_target(const fs::path& dir) {
  return check_folder_target(dir, kAdapterKind);
}

Result<void> save_adapter(const fs::path& dir, const ModelConfig& config, const Weights& adapter,
                          const std::string& base) {
  const WeightsManifest& manifest = adapter.manifest();
  TW_CHECK(config.adapter.rank > 0 && manifest.tensors == version_layout(config).tensors,
           "weights of another layout than the adapter's");
  const json object = {{"peft_type", "LORA"},
                       {"task_type", "CAUSAL_LM"},
                       {"base_model_name_or_path", base},
                       {"inference_mode", true},
                       {"r", config.adapter.rank},
                       {"lora_alpha", config.adapter.alpha},
                       {"lora_dropout", 0.0},
                       {"use_rslora", config.adapter.rank_stabilized},
                       {"target_modules", config.adapter.targets},
                       {"bias", "none"},
                       {"fan_in_fan_out", false},
                       {"modules_to_save", nullptr}};
  std::vector<TensorView> tensors;
  for (const TensorEntry& entry : manifest.tensors) {
    tensors.push_back({entry.name, manifest.dtype, entry.shape,
                       adapter.bytes().subspan(entry.offset, entry.bytes)});
  }
  return replace_folder(dir, kAdapterKind, [&](const fs::path& beside) -> Result<void> {
    TW_TRY(write_safetensors(beside / kTensors, tensors, {{"format", "pt"}}));
    return write_file(beside / kAdapterKind.marker, object.dump(2) + "\n");
  });
}

}  // namespace tracewise
