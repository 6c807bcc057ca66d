// Prompts as a run has prepared them: read back, they are the same to the token, whatever has
// become of the data file, the tokenizer, the chat template and the day's date meanwhile.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "messages/records.hpp"
#include "messages/result.hpp"

namespace tracewise {

// JSON lines: {"template": hash, "prompts": n}, then a prompt a line. kIo.
Result<void> save_prepared(const std::filesystem::path& file, std::span<const Prompt> prompts,
                           const std::string& template_hash);

// kBadInput names file and line where it is not what save_prepared() wrote.
Result<std::vector<Prompt>> load_prepared(const std::filesystem::path& file);

}  // namespace tracewise
