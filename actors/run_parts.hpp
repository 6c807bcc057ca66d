// What a run is made of: the plain parts that the actors, or the plain loop, are shells around.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "actors/eval_outputs.hpp"
#include "actors/eval_set.hpp"
#include "actors/progress.hpp"
#include "learner/rank_group.hpp"
#include "learner/rank_store.hpp"
#include "learner/sample_group.hpp"
#include "learner/trainer.hpp"
#include "messages/records.hpp"
#include "messages/result.hpp"
#include "model/weights.hpp"
#include "rollout/engine.hpp"
#include "rollout/tracer.hpp"

namespace tracewise {

// Each factory is called once for each part, in the thread that will own the part, and possibly at
// the same time as others; again for a generator that is restarted. What they refer to lives until
// the process ends or run_training() has returned without ErrorClass::kDeadline.
struct RunParts {
  std::vector<Prompt> prompts;     // at least one
  std::vector<EvalSet> eval_sets;  // empty: no evaluation

  std::function<Result<std::unique_ptr<Engine>>(uint32_t generator)> make_engine;
  std::function<Result<std::unique_ptr<Tracer>>()> make_tracer;
  std::function<Result<std::unique_ptr<Trainer>>()> make_trainer;  // with the run's first weights

  // The trainer of one rank of several: meets the others as `options` and `store` say and calls
  // `met` with what ends the group from any thread; the trainer is made after that, together with
  // the others'. `options.device` is the trainer's own.
  using EndRanks = std::function<void()>;
  std::function<Result<std::unique_ptr<Trainer>>(RankGroupOptions options,
                                                 std::shared_ptr<RankStore> store,
                                                 const std::function<void(EndRanks)>& met)>
      make_rank_trainer;
  SampleGroupOptions group_options;

  // weights_folder of a checkpoint: writes the folder, reads its weights back.
  std::string weights_folder = "model";  // "adapter" where that is what is trained
  std::function<Result<void>(const std::filesystem::path& dir, const Weights& weights)> save_model;
  std::function<Result<WeightsPtr>(const std::filesystem::path& dir)> load_model;

  // Writes an evaluation's rollouts, ascending by group and sample, as one file. Empty: they are
  // not kept.
  SaveOutputs save_outputs;

  // Called in the thread of run_training(), every progress_seconds. May be empty.
  std::function<void(const Progress&)> on_progress;
};

}  // namespace tracewise
