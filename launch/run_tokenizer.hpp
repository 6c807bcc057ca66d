// The tokenizer of a run that is looked at, perhaps long after its end.
#pragma once

#include <filesystem>
#include <memory>

#include "messages/result.hpp"
#include "model/tokenizer.hpp"

namespace tracewise {

// Of the model that the run was started from, else of a checkpoint's copy. kBadInput: neither is
// there, or RUN/config.toml is none of this build.
[[nodiscard]] Result<std::unique_ptr<Tokenizer>> tokenizer_of(const std::filesystem::path& run);

}  // namespace tracewise
