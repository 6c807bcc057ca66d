// A run's prompts, read and checked as the config says, and as a run folder keeps them.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "launch/config.hpp"
#include "model/model_folder.hpp"
#include "rollout/data/dataset.hpp"
#include "rollout/rewards/shaping.hpp"

namespace tracewise {

struct RunData {
  Dataset train;
  Dataset eval;  // without prompts: there is no evaluation
};

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

// The prompts of training and evaluation, all of which the run's verifier can tell right from wrong
// responses to. Without data.eval_prompts, data.eval_rows of the training prompts are held out for
// evaluation; data.max_rows of what is left are trained on. Both are drawn by the run's seed and
// stay in the file's order.
Result<RunData> load_run_data(const Config& config, const ModelFolder& model);

// The prompts of evaluation alone, of data.eval_prompts or held out. kBadInput where there are
// none.
Result<std::vector<Prompt>> load_eval_prompts(const Config& config, const ModelFolder& model);

// What a user should know of it, a line each; of files none of whose rows was dropped nothing.
std::vector<std::string> notes(const Config& config, const RunData& data);

// In a run's folder: prompts.jsonl and eval_prompts.jsonl.
Result<void> save_run_data(const std::filesystem::path& run, const RunData& data);
// kIo where they are missing.
Result<RunData> load_saved_data(const std::filesystem::path& run);

}  // namespace tracewise
