// The files of a Hugging Face folder that are handed on as they are: what users set there
// (sampling defaults, chat template, special tokens, keys of config.json that we don't know) is in
// the model that we save.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "messages/result.hpp"
#include "model/model_config.hpp"
#include "model/tokenizer.hpp"

namespace tracewise {

using ModelFiles = std::map<std::string, std::string>;  // content by name; "config.json" among them

// Those of a folder. kBadInput for one of more than 64 MiB.
Result<ModelFiles> read_model_files(const std::filesystem::path& dir);

// Writes them and the tokenizer's own file; what there is none of (a model that was made here) is
// made from `config`. In config.json the dtype becomes that of `config`.
Result<void> write_model_files(const std::filesystem::path& dir, const ModelFiles& files,
                               const ModelConfig& config, const Tokenizer& tokenizer);

}  // namespace tracewise
