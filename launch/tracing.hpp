// Groups with the values of their states and the step advantages that training would see: of
// rollouts that the model samples here, and of completions that somebody else produced.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <stop_token>
#include <vector>

#include "launch/config.hpp"
#include "model/model_folder.hpp"

namespace tracewise {

struct TracedGroup {
  std::vector<TracedRollout> rollouts;          // [G] ascending by sample; kProbe: without values
  std::vector<std::vector<double>> advantages;  // [G][K_i]; [] of failed rollouts and without gold
  bool rewarded = false;                        // there is a gold answer, so rewards mean something
  bool trained = false;                         // training would keep it (carries_signal)
};

// A completion of another program. Its response ends with the model's end token, as a sampled one.
struct Completion {
  Prompt prompt;
  std::vector<int32_t> response;  // >= 1 tokens
};

// One row each of a JSONL file with {"prompt", "response", "answer"}; columns by the keys data.*
// and sft.response_column. Every completion counts as one that ended by itself. Only probe.mode
// verbal does without an answer. kBadInput with file and line, also for one longer than the
// context.
Result<std::vector<Completion>> load_completions(const std::filesystem::path& file,
                                                 const Config& config, const ModelFolder& model);

// Traces with one model. Not thread-safe. `config` and `model` must outlive it. After an error it
// is of no more use.
class GroupTracer {
 public:
  // kBadInput where the config has no probe.mode or cannot be traced with; make_engine()'s errors.
  static Result<std::unique_ptr<GroupTracer>> make(const Config& config, const ModelFolder& model);

  // Samples and traces `samples` rollouts of the prompt, by the keys sampling.*. They are those of
  // group 0 of a run with this seed. kCancelled when `stop` ended it.
  Result<TracedGroup> sample(const Prompt& prompt, uint32_t samples, std::stop_token stop);

  // Traces completions of one prompt as one group, sample i being the i-th. Their values are probed
  // by prefilling every state. kCancelled when `stop` ended it.
  Result<TracedGroup> adopt(std::span<const Completion> completions, uint64_t group,
                            std::stop_token stop);

 private:
  GroupTracer(const Config& config, const ModelFolder& model, std::unique_ptr<Verifier> verifier,
              Shaping shaping)
      : config_(config),
        model_(model),
        verifier_(std::move(verifier)),
        shaping_(std::move(shaping)) {}

  Result<TracedGroup> trace(std::vector<Rollout> rollouts, std::stop_token stop);
  TracedRollout ask(Rollout rollout);
  Result<void> answer(std::vector<TracedRollout>& rollouts, const std::stop_token& stop);
  Result<EngineOutput> step(const std::stop_token& stop);

  const Config& config_;
  const ModelFolder& model_;
  std::unique_ptr<Verifier> verifier_;
  Shaping shaping_;
  std::unique_ptr<ValueProbe> probe_;
  std::unique_ptr<Engine> engine_;
  uint64_t asked_ = 0;  // probes that the engine has not answered
};

// Sets `advantages` and `trained` of a group whose other members are there. A rollout without the
// values that options.advantage needs counts as failed.
void add_advantages(TracedGroup& group, const SampleGroupOptions& options);

// Whitens the advantages over all groups where the base asks for it, as one batch.
void finish_groups(std::span<TracedGroup> groups, const AdvantageOptions& options);

}  // namespace tracewise
