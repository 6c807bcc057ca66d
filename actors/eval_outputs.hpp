// What a run's evaluations sampled, as files: evals/step-N.jsonl of the newest ones and the best.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <utility>

#include "actors/eval_result.hpp"
#include "messages/records.hpp"
#include "messages/result.hpp"

namespace tracewise {

// Writes the rollouts of an evaluation to `file`, which appears whole or not at all.
using SaveOutputs =
    std::function<Result<void>(const std::filesystem::path& file, const EvalResult& result,
                               std::span<const TracedRollout> rollouts)>;

// Not thread-safe. Errors are kIo.
class EvalOutputs {
 public:
  // `keep`: newest evaluations that are kept beside the best one; 0: none, not the best either.
  EvalOutputs(std::filesystem::path dir, uint64_t keep) : dir_(std::move(dir)), keep_(keep) {}

  // Without it nothing is written.
  void save_with(SaveOutputs save) { save_ = std::move(save); }

  // Writes those of `result` and removes what is to be kept no longer.
  Result<void> save(const EvalResult& result, std::span<const TracedRollout> rollouts,
                    uint64_t best_step);

  // Removes those of steps after `step`, which a resumed run does again.
  Result<void> forget_after(uint64_t step);

 private:
  std::filesystem::path dir_;
  uint64_t keep_;
  SaveOutputs save_;
};

}  // namespace tracewise
