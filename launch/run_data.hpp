// A run's prompts, read and checked as the config says, and as a run folder keeps them.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "actors/eval_set.hpp"
#include "launch/config.hpp"
#include "model/model_folder.hpp"
#include "rollout/data/dataset.hpp"
#include "rollout/rewards/shaping.hpp"

namespace tracewise {

// An evaluation set and where it comes from.
struct EvalData {
  EvalSet set;
  std::filesystem::path file;
  DatasetReport report;
};

struct RunData {
  Dataset train;
  std::vector<EvalData> eval;  // empty: there is no evaluation
};

// The file's stem as a set's name: what a name cannot have becomes '_'.
std::string set_name(const std::filesystem::path& file);

// The sets alone.
std::vector<EvalSet> eval_sets(const std::vector<EvalData>& data);

// Whether a run's verifier and terms can tell the rewards of responses to a prompt.
class RunCheck {
 public:
  // Errors of make_verifier().
  static Result<RunCheck> make(const Config& config);
  // Must not outlive this.
  PromptCheck function() const;

 private:
  std::unique_ptr<Verifier> verifier_;
  std::unique_ptr<Shaping> shaping_;
};

// The prompts of `options`. A prompt that leaves no room in the model's context is too long.
Result<Dataset> load_data(DatasetOptions options, const Tokenizer& tokenizer,
                          const ModelConfig& model, const ModelFiles& files,
                          const PromptCheck& check = {});
Result<std::vector<Prompt>> load_prompts(const DatasetOptions& options, const ModelFolder& model);

// The prompts of training and evaluation, all of which their verifier can tell right from wrong
// responses to. Evaluation sets are data.eval_prompts, under the name of its file, and eval.sets.
// Without data.eval_prompts, data.eval_rows of the training prompts are held out as the set
// held_out; data.max_rows of what is left are trained on. All are drawn by the run's seed and stay
// in the file's order. kBadInput names the set that is none, or whose samples eval.pass_at exceeds.
Result<RunData> load_run_data(const Config& config, const ModelFolder& model);

// The evaluation sets alone. kBadInput where there are none.
Result<std::vector<EvalData>> load_eval_data(const Config& config, const ModelFolder& model);

// What a user should know of it, a line each; of files none of whose rows was dropped nothing.
std::vector<std::string> notes(const Config& config, const RunData& data);
std::vector<std::string> notes(const std::vector<EvalData>& sets);

// In a run's folder: prompts.jsonl and eval_prompts/NAME.jsonl for each set.
Result<void> save_run_data(const std::filesystem::path& run, const RunData& data);
// Of the sets that the run's config names. kIo where they are missing.
Result<RunData> load_saved_data(const std::filesystem::path& run, const Config& config);

}  // namespace tracewise
