#include "model/model_files.hpp"

#include <nlohmann/json.hpp>

#include "model/file_io.hpp"

namespace tracewise {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr uint64_t kMaxFileBytes = uint64_t{64} << 20;

// What transformers reads beside weights and tokenizer.json.
constexpr const char* kHandedOn[] = {"config.json",
                                     "generation_config.json",
                                     "tokenizer_config.json",
                                     "special_tokens_map.json",
                                     "added_tokens.json",
                                     "chat_template.jinja",
                                     "chat_template.json",
                                     "vocab.json",
                                     "merges.txt",
                                     "tokenizer.model"};

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

// The config as it was read, but for the dtype. transformers 4.56 renamed torch_dtype.
std::string with_dtype(const std::string& config_json, const ModelConfig& config) {
  auto object = nlohmann::ordered_json::parse(config_json);
  const char* name = config.dtype == "F32" ? "float32" : "bfloat16";
  object[object.contains("dtype") ? "dtype" : "torch_dtype"] = name;
  return object.dump(2) + "\n";
}

}  // namespace

Result<ModelFiles> read_model_files(const fs::path& dir) {
  ModelFiles files;
  for (const char* name : kHandedOn) {
    if (!is_present(dir / name)) continue;
    TW_ASSIGN(files[name], read_file(dir / name, kMaxFileBytes));
  }
  return files;
}

Result<void> write_model_files(const fs::path& dir, const ModelFiles& files,
                               const ModelConfig& config, const Tokenizer& tokenizer) {
  ModelFiles all = files;
  const auto known = files.find("config.json");
  all["config.json"] =
      known == files.end() ? model_config_json(config) : with_dtype(known->second, config);
  all.emplace("generation_config.json", generation_config_json(config));
  all.emplace("tokenizer_config.json", tokenizer_config_json(config, tokenizer));
  all["tokenizer.json"] = tokenizer.to_json();
  for (const auto& [name, content] : all) TW_TRY(write_file(dir / name, content));
  return {};
}

}  // namespace tracewise
