// The configuration of a run: every option struct of the program, filled from TOML files and
// --set key=value. launch/config_keys.cpp holds the one table of keys.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "actors/run_options.hpp"
#include "launch/cluster_options.hpp"
#include "learner/sample_group.hpp"
#include "learner/trainer.hpp"
#include "messages/result.hpp"
#include "model/model_config.hpp"
#include "rollout/data/dataset.hpp"
#include "rollout/data/supervised.hpp"
#include "rollout/engine.hpp"
#include "rollout/tracer.hpp"

namespace tracewise {

enum class ModelDtype : uint8_t { kStored, kFloat32, kBfloat16 };

// Options that only launch/ itself acts on.
struct LaunchOptions {
  std::string run_dir;    // run folder; empty: runs/<time>
  std::string model_dir;  // Hugging Face folder
  ModelDtype model_dtype = ModelDtype::kStored;
  uint64_t max_shard_bytes = 5'000'000'000;  // of a file of a saved model's weights
};

// How many rows of the training prompts are for what.
struct DataRows {
  int64_t max = 0;   // to train on; 0: all
  int64_t eval = 0;  // held out for evaluation, where that has no file of its own
};

// Prompts of an evaluation under a name.
struct EvalSetOptions {
  std::string name;
  std::string path;      // of prompts, with the columns of the training prompts
  uint32_t samples = 0;  // rollouts of each prompt; 0: eval.samples
  int64_t max_rows = 0;  // drawn by the run's seed; 0: all
  std::string verifier;  // kind that verifies the rows that name none; empty: the run's
};

// A low-rank adapter is trained instead of all weights (docs/lora.md).
struct LoraOptions {
  int64_t rank = 0;                  // 0: that of `adapter_dir`, or no adapter at all
  double alpha = 0;                  // 0: that of `adapter_dir`, or the rank
  bool rank_stabilized = false;      // scaled by alpha / sqrt(rank)
  std::vector<std::string> targets;  // modules; empty: those of `adapter_dir`, or all
  double dropout = 0;                // nothing but 0
  std::string adapter_dir;           // PEFT folder to start from; empty: a new adapter

  bool on() const { return rank > 0 || !adapter_dir.empty(); }
};

// The adapter that `options` describe; its rank is 0 where there is none. kBadInput where they
// contradict the folder that it is to be read from.
Result<AdapterConfig> adapter_config(const LoraOptions& options);

// The key that contradicts the others and why; nothing: none does.
std::optional<std::pair<std::string, std::string>> lora_conflict(const LoraOptions& options);

// The supervised warm start (`tracewise sft`); its optimizer is the learner's.
struct SftOptions {
  SupervisedOptions data;
  std::string out_dir;        // Hugging Face folder to write
  int64_t steps = 1000;       // optimizer steps
  int64_t batch_size = 32;    // examples of a step
  std::string answer_prefix;  // with answer_weight: tokens after its last occurrence
  double answer_weight = 1;   // weigh this much in the loss
};

struct Config {
  uint64_t seed = 0;  // of everything random; load_config() copies it into the structs below
  LaunchOptions launch;
  LoraOptions lora;
  ClusterOptions cluster;
  RunOptions run;
  EngineOptions engine;
  DatasetOptions data;       // training prompts
  DatasetOptions eval_data;  // evaluation prompts; differs in its path alone; may be empty
  std::vector<EvalSetOptions> eval_sets;  // beside eval_data or what data_rows holds out
  DataRows data_rows;
  StepOptions steps;
  VerifierOptions verifier;
  std::vector<RewardTerm> reward_terms;
  ProbeOptions probe;
  SampleGroupOptions group;
  TrainerOptions trainer;
  SftOptions sft;
};

struct ConfigSource {
  std::vector<std::filesystem::path> files;  // TOML; a later one overrides an earlier one
  std::vector<std::string> sets;             // "key=value"; override the files
  std::string text = {};  // TOML from elsewhere, before the files; messages call it "config"
};

// The defaults overridden by `source`, checked key by key and where keys depend on each other.
// Paths are made absolute from the current folder, so the result means the same from any other.
//
// kBadInput: "FILE:LINE: KEY = VALUE: what is allowed" for a wrong type or range, the nearest known
// key for an unknown one; kIo for a file that cannot be read.
Result<Config> load_config(const ConfigSource& source);

// The rules between keys that only training has: kBadInput names the keys, e.g. step advantages
// without a probe. Commands that train call it before they start.
[[nodiscard]] Result<void> check_training(const Config& config);

// One sentence where more threads compute at a time on this machine than it has cores, which slows
// small models down several times; else empty. Of several processes those of topology local are
// here; of the others nothing is known (tracewise doctor asks them). cores: 0 is unknown.
std::string thread_warning(const Config& config, unsigned cores);

// TOML that load_config() reads back to an equal config. `comments` puts each key's meaning and
// what it allows above it. A non-empty `prefix` ("advantage", "advantage.beta") picks keys.
std::string config_toml(const Config& config, bool comments, const std::string& prefix = "");

// A markdown table for each group of keys: name, default, what is allowed, meaning.
std::string config_markdown();

// The known key that is nearest to `name` in spelling; empty if none is near.
std::string nearest_key(const std::string& name);

}  // namespace tracewise
