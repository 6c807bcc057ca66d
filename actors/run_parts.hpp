// What a run is made of: the plain parts that the actors, or the plain loop, are shells around.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <vector>

#include "actors/progress.hpp"
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
  std::vector<Prompt> prompts;       // at least one
  std::vector<Prompt> eval_prompts;  // empty: no evaluation

  std::function<Result<std::unique_ptr<Engine>>(uint32_t generator)> make_engine;
  std::function<Result<std::unique_ptr<Tracer>>()> make_tracer;
  std::function<Result<std::unique_ptr<Trainer>>()> make_trainer;  // with the run's first weights
  SampleGroupOptions group_options;

  // model/ of a checkpoint: writes the folder, reads its weights back.
  std::function<Result<void>(const std::filesystem::path& dir, const Weights& weights)> save_model;
  std::function<Result<WeightsPtr>(const std::filesystem::path& dir)> load_model;

  // Called in the thread of run_training(), every progress_seconds. May be empty.
  std::function<void(const Progress&)> on_progress;
};

}  // namespace tracewise
