#include "model/model_folder.hpp"

#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "model/dtype.hpp"
#include "model/file_io.hpp"
#include "model/stored_tensors.hpp"
#include "model/whole_folder.hpp"

namespace tracewise {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr FolderKind kModelKind = {"a model folder", "config.json"};

bool is_folder(const fs::path& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

std::string shape_text(const std::vector<int64_t>& shape) { return json(shape).dump(); }

// A stored tensor that no parameter answers to: an error unless it may be passed over.
Result<void> check_extra(const std::string& name, const StoredTensors& stored,
                         const ModelConfig& config) {
  const StoredTensors::Entry& extra = *stored.find(name);
  // Old Llama checkpoints store what rope_theta already says; transformers passes it over too.
  if (name.ends_with("rotary_emb.inv_freq")) return {};
  if (name == "lm_head.weight" && config.tied_head) {
    const auto bytes = extra.tensor->bytes;
    const auto embedding = stored.find("model.embed_tokens.weight")->tensor->bytes;
    if (embedding.size() == bytes.size() &&
        std::memcmp(embedding.data(), bytes.data(), bytes.size()) == 0)
      return {};
    return bad_input(*extra.file +
                     ": lm_head.weight differs from model.embed_tokens.weight, but the "
                     "config says tie_word_embeddings");
  }
  return bad_input(*extra.file + ": tensor \"" + name + "\" belongs to no parameter of a " +
                   config.architecture + " with " + std::to_string(config.layers) + " layers");
}

// Sets config.dtype to that of all parameters, or to F32, which holds what every other one does.
Result<void> check_tensors(const StoredTensors& stored, ModelConfig& config) {
  std::set<std::string, std::less<>> wanted, dtypes;
  for (const ParameterSpec& spec : parameter_specs(config)) {
    const StoredTensors::Entry* entry = stored.find(spec.name);
    if (entry == nullptr) {
      return bad_input(stored.place() + ": tensor \"" + spec.name + "\" of shape " +
                       shape_text(spec.shape) + " is missing");
    }
    const TensorView& tensor = *entry->tensor;
    const std::string place = *entry->file + ": tensor \"" + spec.name + "\" has ";
    if (tensor.shape != spec.shape) {
      return bad_input(place + "shape " + shape_text(tensor.shape) + ", but the config needs " +
                       shape_text(spec.shape));
    }
    if (tensor.dtype != "F32" && tensor.dtype != "BF16" && tensor.dtype != "F16")
      return unsupported(place + "dtype " + tensor.dtype + "; F32, BF16 and F16 are supported");
    wanted.insert(spec.name);
    dtypes.insert(tensor.dtype);
  }
  config.dtype = dtypes == std::set<std::string, std::less<>>{"BF16"} ? "BF16" : "F32";
  for (const auto& [name, entry] : stored.all()) {
    if (!wanted.contains(name)) TW_TRY(check_extra(name, stored, config));
  }
  return {};
}

Result<WeightsPtr> load_weights(const fs::path& dir, ModelConfig& config) {
  TW_ASSIGN(const StoredTensors stored, StoredTensors::open(dir));
  TW_TRY(check_tensors(stored, config));
  WeightsManifest manifest = weights_layout(config);
  auto bytes = allocate_weights(manifest.bytes);
  std::memset(bytes.get(), 0, manifest.bytes);
  for (const TensorEntry& entry : manifest.tensors) {
    const auto& [tensor, file] = *stored.find(entry.name);
    if (const auto at = first_not_finite(tensor->dtype, tensor->bytes)) {
      return corrupt(*file + ": tensor \"" + entry.name +
                     "\" has a NaN or an infinity at element " + std::to_string(*at));
    }
    convert_elements(tensor->dtype, tensor->bytes, manifest.dtype, bytes.get() + entry.offset);
  }
  manifest.checksum = weights_checksum({bytes.get(), manifest.bytes});
  return WeightsPtr(std::make_shared<const Weights>(std::move(manifest), std::move(bytes)));
}

// transformers generates with generation_config.json where there is one, so its eos ids win.
Result<void> read_generation_config(const fs::path& dir, const ModelFiles& files,
                                    ModelConfig& config) {
  const fs::path path = dir / "generation_config.json";
  const auto file = files.find("generation_config.json");
  if (file == files.end()) return {};
  const std::string& text = file->second;
  const json object = json::parse(text, nullptr, false);
  if (!object.is_object()) return bad_input(path.string() + ": not a JSON object");
  if (!object.contains("eos_token_id") || object["eos_token_id"].is_null()) return {};
  const json& eos = object["eos_token_id"];
  std::vector<int32_t> ids;
  for (const json& id : eos.is_array() ? eos : json::array({eos})) {
    if (!id.is_number_unsigned() ||
        id.get<uint64_t>() >= static_cast<uint64_t>(config.vocab_size)) {
      return bad_input(path.string() + ": \"eos_token_id\" holds " + id.dump() +
                       ", but must hold ids below " + std::to_string(config.vocab_size));
    }
    ids.push_back(id.get<int32_t>());
  }
  config.eos_tokens = std::move(ids);
  return {};
}

Result<void> write_folder(const fs::path& dir, const ModelConfig& config,
                          const Tokenizer& tokenizer, const Weights& weights,
                          const SaveOptions& options) {
  std::vector<TensorView> tensors;
  for (const TensorEntry& entry : weights.manifest().tensors) {
    tensors.push_back({entry.name, weights.manifest().dtype, entry.shape,
                       weights.bytes().subspan(entry.offset, entry.bytes)});
  }
  TW_TRY(write_tensors(dir, tensors, options.max_shard_bytes));
  return write_model_files(dir, options.files, config, tokenizer);
}

}  // namespace

Result<ModelFolder> load_model_weights(const fs::path& dir) {
  if (!is_folder(dir)) return bad_input(dir.string() + " is not a folder");
  ModelFolder folder;
  TW_ASSIGN(folder.files, read_model_files(dir));
  const fs::path path = dir / "config.json";
  const auto config = folder.files.find("config.json");
  if (config == folder.files.end()) return io_error(path.string() + " is not there");
  TW_ASSIGN(folder.config, parse_model_config(config->second, path.string()));
  TW_TRY(read_generation_config(dir, folder.files, folder.config));
  TW_ASSIGN(folder.weights, load_weights(dir, folder.config));
  return folder;
}

Result<ModelFolder> load_model_folder(const fs::path& dir) {
  if (!is_folder(dir)) return bad_input(dir.string() + " is not a folder");
  TW_ASSIGN(std::unique_ptr<Tokenizer> tokenizer, load_tokenizer(dir / "tokenizer.json"));
  TW_ASSIGN(ModelFolder folder, load_model_weights(dir));
  if (tokenizer->vocab_size() > folder.config.vocab_size) {
    return bad_input((dir / "tokenizer.json").string() + " has " +
                     std::to_string(tokenizer->vocab_size()) + " tokens, but config.json says " +
                     std::to_string(folder.config.vocab_size));
  }
  folder.tokenizer = std::move(tokenizer);
  return folder;
}

Result<void> check_model_target(const fs::path& dir) {
  return check_folder_target(dir, kModelKind);
}

Result<void> save_model_folder(const fs::path& dir, const ModelConfig& config,
                               const Tokenizer& tokenizer, const Weights& weights,
                               const SaveOptions& options) {
  TW_CHECK(weights.manifest().tensors == weights_layout(config).tensors &&
               weights.manifest().dtype == config.dtype,
           "weights of another layout than the config's");
  return replace_folder(dir, kModelKind, [&](const fs::path& beside) {
    return write_folder(beside, config, tokenizer, weights, options);
  });
}

}  // namespace tracewise
