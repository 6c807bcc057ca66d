#include <algorithm>
#include <chrono>

#include "bench/workload.hpp"
#include "launch/parts.hpp"
#include "messages/random.hpp"
#include "rollout/data/supervised.hpp"

namespace tracewise::bench {
namespace {

constexpr size_t kRollouts = 256;

// Rollouts of the corpus' lengths; the reference makes the same from the same file.
std::vector<SampleGroup> make_groups(const std::vector<SupervisedRow>& rows) {
  SplitMix random(1);
  std::vector<SampleGroup> groups;
  for (size_t i = 0; i < kRollouts; ++i) {
    AdvantageRollout rollout;
    rollout.tokens = rows[i].tokens;
    rollout.prompt_tokens = rows[i].prompt_tokens;
    const size_t response = rows[i].tokens.size() - rows[i].prompt_tokens;
    rollout.logprobs.assign(response, -3.178f);  // log(1/24): the initial policy's, nearly
    rollout.versions.assign(response, 0);
    for (size_t t = 0; t < response; ++t)
      rollout.advantages.push_back(static_cast<float>(random.normal()));
    SampleGroup group;
    group.key.group = i;
    group.rollouts.push_back(std::move(rollout));
    groups.push_back(std::move(group));
  }
  return groups;
}

}  // namespace

Result<std::vector<BenchResult>> bench_train(const BenchOptions& options) {
  TW_ASSIGN(const Workload workload, make_workload(options));
  SupervisedOptions data;
  data.path = workload.files.corpus;
  TW_ASSIGN(const auto rows, load_supervised(data, *workload.model.tokenizer,
                                             workload.model.config.eos_tokens.front()));
  const std::vector<SampleGroup> groups = make_groups(rows);
  int64_t tokens = 0;  // prompt and response; padding counts for nobody
  for (const SampleGroup& g : groups) tokens += static_cast<int64_t>(g.rollouts[0].tokens.size());

  TrainerOptions trainer_options;
  trainer_options.threads = options.threads;
  trainer_options.optimizer.lr = 1e-5;
  TW_ASSIGN(const auto trainer,
            make_trainer(trainer_options, workload.model.config, workload.model.weights));
  std::vector<double> ours, theirs;
  for (int r = 0; r < options.repetitions; ++r) {
    double best = 0;
    for (int i = 0; i < 4; ++i) {
      const auto start = Clock::now();
      TW_ASSIGN(const TrainReport report, trainer->train(groups, 0, 0, options.dir));
      const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
      if (report.skipped_updates > 0)
        return Error{ErrorClass::kInternal, "the benchmark's training step was skipped"};
      best = std::max(best, static_cast<double>(tokens) / seconds);
    }
    ours.push_back(best);
    TW_ASSIGN(const double reference,
              run_reference(options, {"train", workload.files.model, workload.files.corpus,
                                      std::to_string(kRollouts), std::to_string(options.threads)}));
    theirs.push_back(reference);
  }
  BenchResult result = summarise("training step", "tokens/s", "PyTorch, padded", ours, theirs);
  result.goal = 1.5;
  return std::vector{result};
}

}  // namespace tracewise::bench
