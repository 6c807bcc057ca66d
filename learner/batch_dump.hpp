// Writes a batch that could not be trained on, for whoever looks into why.
#pragma once

#include <filesystem>
#include <span>

#include "learner/trainer.hpp"

namespace tracewise {

// One line a rollout: {"group", "sample", "prompt_tokens", "tokens", "logprobs", "advantages"}.
// Numbers that are not finite are written as null.
Result<void> dump(const std::filesystem::path& file, std::span<const SampleGroup> groups);

// One line an example: {"prompt_tokens", "tokens", "weights"}.
Result<void> dump(const std::filesystem::path& file, std::span<const SupervisedExample> examples);

}  // namespace tracewise
