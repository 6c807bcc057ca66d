// A model as a Hugging Face folder: config.json, model.safetensors or its shards, tokenizer.json
// and what transformers reads beside them.
#pragma once

#include <filesystem>
#include <memory>

#include "messages/result.hpp"
#include "model/model_config.hpp"
#include "model/model_files.hpp"
#include "model/tokenizer.hpp"
#include "model/weights.hpp"

namespace tracewise {

struct ModelFolder {
  ModelConfig config;
  std::shared_ptr<const Tokenizer> tokenizer;  // shared by every actor that reads or shows text
  WeightsPtr weights;                          // version 0, in config.dtype
  ModelFiles files;
};

// Reads and checks everything; the first thing wrong is the error, with file and tensor named.
// Weights stored in fp16, or in several dtypes, become fp32, which holds all their values. kCorrupt
// where one is a NaN or an infinity.
Result<ModelFolder> load_model_folder(const std::filesystem::path& dir);

// The same without the tokenizer's files: `tokenizer` is null. For commands that work on token ids.
Result<ModelFolder> load_model_weights(const std::filesystem::path& dir);

// Whether save_model_folder(dir) may write there; makes the folders above it. Asked before the work
// whose result goes there. kBadInput if `dir` holds something else, kIo if it cannot be written.
Result<void> check_model_target(const std::filesystem::path& dir);

struct SaveOptions {
  ModelFiles files = {};                     // of the folder that the model was read from
  uint64_t max_shard_bytes = 5'000'000'000;  // of a file of weights; transformers' own default
};

// Writes the folder beside and renames it to `dir`, which must not exist or be a model folder.
// On failure `dir` is as it was.
Result<void> save_model_folder(const std::filesystem::path& dir, const ModelConfig& config,
                               const Tokenizer& tokenizer, const Weights& weights,
                               const SaveOptions& options = {});

}  // namespace tracewise
