#include "model/model_folder.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>

#include "model/file_io.hpp"
#include "model/safetensors.hpp"

namespace tracewise {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr uint64_t kMaxConfigBytes = uint64_t{16} << 20;

// Of the file system's answers only "yes" counts; what cannot be seen is reported by its reader.
bool is_present(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

bool is_folder(const fs::path& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

std::string shape_text(const std::vector<int64_t>& shape) { return json(shape).dump(); }

// A stored tensor that no parameter answers to: null where it may be passed over.
Result<void> check_extra(const TensorView& tensor, const SafetensorsFile& file,
                         const ModelConfig& config, const std::string& place) {
  // Old Llama checkpoints store what rope_theta already says; transformers passes it over too.
  if (tensor.name.ends_with("rotary_emb.inv_freq")) return {};
  if (tensor.name == "lm_head.weight" && config.tied_head) {
    const TensorView* embedding = file.find("model.embed_tokens.weight");
    const bool same =
        embedding != nullptr && embedding->bytes.size() == tensor.bytes.size() &&
        std::memcmp(embedding->bytes.data(), tensor.bytes.data(), tensor.bytes.size()) == 0;
    if (same) return {};
    return bad_input(place +
                     ": lm_head.weight differs from model.embed_tokens.weight, but the "
                     "config says tie_word_embeddings");
  }
  return bad_input(place + ": tensor \"" + tensor.name + "\" belongs to no parameter of a " +
                   config.architecture + " with " + std::to_string(config.layers) + " layers");
}

// Sets config.dtype to that of the file, which all parameters must share.
Result<void> check_tensors(const SafetensorsFile& file, const std::string& place,
                           ModelConfig& config) {
  std::map<std::string, bool, std::less<>> wanted;
  std::string first;
  for (const ParameterSpec& spec : parameter_specs(config)) {
    const TensorView* tensor = file.find(spec.name);
    if (tensor == nullptr) {
      return bad_input(place + ": tensor \"" + spec.name + "\" of shape " + shape_text(spec.shape) +
                       " is missing");
    }
    if (tensor->shape != spec.shape) {
      return bad_input(place + ": tensor \"" + spec.name + "\" has shape " +
                       shape_text(tensor->shape) + ", but the config needs " +
                       shape_text(spec.shape));
    }
    if (tensor->dtype != "F32" && tensor->dtype != "BF16") {
      return unsupported(place + ": tensor \"" + spec.name + "\" has dtype " + tensor->dtype +
                         "; F32 and BF16 are supported");
    }
    if (first.empty()) {
      first = spec.name;
      config.dtype = tensor->dtype;
    } else if (tensor->dtype != config.dtype) {
      return unsupported(place + ": mixed dtypes are not supported: \"" + first + "\" is " +
                         config.dtype + ", \"" + spec.name + "\" is " + tensor->dtype);
    }
    wanted.emplace(spec.name, true);
  }
  for (const TensorView& tensor : file.tensors()) {
    if (!wanted.contains(tensor.name)) TW_TRY(check_extra(tensor, file, config, place));
  }
  return {};
}

Result<WeightsPtr> load_weights(const fs::path& dir, ModelConfig& config) {
  const fs::path path = dir / "model.safetensors";
  if (!is_present(path)) {
    for (const char* other :
         {"model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"}) {
      if (is_present(dir / other)) {
        return unsupported((dir / other).string() +
                           " is not supported; one model.safetensors is needed");
      }
    }
  }
  TW_ASSIGN(const SafetensorsFile file, SafetensorsFile::open(path));
  TW_TRY(check_tensors(file, path.string(), config));
  WeightsManifest manifest = weights_layout(config);
  auto bytes = allocate_weights(manifest.bytes);
  std::memset(bytes.get(), 0, manifest.bytes);
  for (const TensorEntry& entry : manifest.tensors) {
    std::memcpy(bytes.get() + entry.offset, file.find(entry.name)->bytes.data(), entry.bytes);
  }
  manifest.checksum = weights_checksum({bytes.get(), manifest.bytes});
  return WeightsPtr(std::make_shared<const Weights>(std::move(manifest), std::move(bytes)));
}

// transformers generates with generation_config.json where there is one, so its eos ids win.
Result<void> read_generation_config(const fs::path& dir, ModelConfig& config) {
  const fs::path path = dir / "generation_config.json";
  if (!is_present(path)) return {};
  TW_ASSIGN(const std::string text, read_file(path, kMaxConfigBytes));
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

std::string tokenizer_config_json(const ModelConfig& config, const Tokenizer& tokenizer) {
  json object = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                 {"clean_up_tokenization_spaces", false},
                 {"model_max_length", config.max_context}};
  if (config.bos_token >= 0) object["bos_token"] = tokenizer.piece(config.bos_token);
  if (config.pad_token >= 0) object["pad_token"] = tokenizer.piece(config.pad_token);
  if (!config.eos_tokens.empty()) object["eos_token"] = tokenizer.piece(config.eos_tokens[0]);
  return object.dump(2) + "\n";
}

std::string generation_config_json(const ModelConfig& config) {
  json object = json::object();
  if (config.bos_token >= 0) object["bos_token_id"] = config.bos_token;
  if (config.pad_token >= 0) object["pad_token_id"] = config.pad_token;
  if (!config.eos_tokens.empty()) object["eos_token_id"] = config.eos_tokens;
  return object.dump(2) + "\n";
}

Result<void> write_folder(const fs::path& dir, const ModelConfig& config,
                          const Tokenizer& tokenizer, const Weights& weights) {
  std::error_code failed;
  fs::create_directories(dir, failed);
  if (failed) return io_error("cannot create " + dir.string() + ": " + failed.message());
  std::vector<TensorView> tensors;
  for (const TensorEntry& entry : weights.manifest().tensors) {
    tensors.push_back({entry.name, weights.manifest().dtype, entry.shape,
                       weights.bytes().subspan(entry.offset, entry.bytes)});
  }
  // transformers asks for the format's name.
  TW_TRY(write_safetensors(dir / "model.safetensors", tensors, {{"format", "pt"}}));
  TW_TRY(write_file(dir / "config.json", model_config_json(config)));
  TW_TRY(write_file(dir / "generation_config.json", generation_config_json(config)));
  TW_TRY(write_file(dir / "tokenizer.json", tokenizer.to_json()));
  return write_file(dir / "tokenizer_config.json", tokenizer_config_json(config, tokenizer));
}

Error rename_error(const fs::path& dir) {
  return io_error("cannot rename a folder to " + dir.string() + ": " + std::strerror(errno));
}

// Puts `beside` under the name `dir` in one step; what was there is removed afterwards.
Result<void> move_into_place(const fs::path& beside, const fs::path& dir) {
  const bool replaces = is_present(dir);
  fs::path old = beside;
  if (::renameat2(AT_FDCWD, beside.c_str(), AT_FDCWD, dir.c_str(),
                  replaces ? RENAME_EXCHANGE : RENAME_NOREPLACE) != 0) {
    if (errno != EINVAL && errno != ENOSYS) return rename_error(dir);
    // A file system without exchange (NFS): two renames, the first undone if the second fails.
    old += ".old";
    if (replaces && ::rename(dir.c_str(), old.c_str()) != 0) return rename_error(dir);
    if (::rename(beside.c_str(), dir.c_str()) != 0) {
      const Error error = rename_error(dir);
      if (replaces && ::rename(old.c_str(), dir.c_str()) != 0) return rename_error(dir);
      return error;
    }
  }
  TW_TRY(sync_directory(dir.parent_path()));
  std::error_code ignored;  // the new folder is in place; a leftover beside it does no harm
  if (replaces) fs::remove_all(old, ignored);
  return {};
}

// The absolute path of a folder to save to. kBadInput if it holds something else.
Result<fs::path> resolve_target(const fs::path& dir) {
  std::error_code failed;
  fs::path target = fs::weakly_canonical(fs::absolute(dir, failed), failed);
  if (failed) return io_error("cannot resolve " + dir.string() + ": " + failed.message());
  if (!target.has_filename()) target = target.parent_path();  // "name/"
  if (is_present(target) && !is_present(target / "config.json") &&
      !(is_folder(target) && fs::is_empty(target, failed))) {
    return bad_input(target.string() + " exists and is not a model folder; name another one");
  }
  return target;
}

}  // namespace

Result<ModelFolder> load_model_weights(const fs::path& dir) {
  if (!is_folder(dir)) return bad_input(dir.string() + " is not a folder");
  const fs::path path = dir / "config.json";
  TW_ASSIGN(const std::string text, read_file(path, kMaxConfigBytes));
  ModelFolder folder;
  TW_ASSIGN(folder.config, parse_model_config(text, path.string()));
  TW_TRY(read_generation_config(dir, folder.config));
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
  TW_ASSIGN(const fs::path target, resolve_target(dir));
  std::error_code failed;
  fs::create_directories(target.parent_path(), failed);
  if (failed)
    return io_error("cannot make " + target.parent_path().string() + ": " + failed.message());
  return check_writable(target);
}

Result<void> save_model_folder(const fs::path& dir, const ModelConfig& config,
                               const Tokenizer& tokenizer, const Weights& weights) {
  TW_CHECK(weights.manifest().tensors == weights_layout(config).tensors &&
               weights.manifest().dtype == config.dtype,
           "weights of another layout than the config's");
  TW_ASSIGN(const fs::path target, resolve_target(dir));
  std::error_code failed;
  const fs::path beside = target.parent_path() / ("." + target.filename().string() + ".partial-" +
                                                  std::to_string(::getpid()));
  fs::remove_all(beside, failed);
  auto saved = write_folder(beside, config, tokenizer, weights);
  if (saved.ok()) saved = move_into_place(beside, target);
  if (!saved.ok()) fs::remove_all(beside, failed);
  return saved;
}

}  // namespace tracewise
