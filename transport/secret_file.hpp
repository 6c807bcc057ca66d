// Files that hold a private key: nobody but their owner can read them, from the first byte on.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "messages/result.hpp"

namespace tracewise {

// Writes `text` with mode 0600 beside `file`, syncs and renames over it. On failure (kIo) `file` is
// as it was and nothing is left beside it.
[[nodiscard]] Result<void> write_secret_file(const std::filesystem::path& file,
                                             std::string_view text);

// The text of `file`, at most 64 KiB. kBadInput if group or others have any right to it.
[[nodiscard]] Result<std::string> read_secret_file(const std::filesystem::path& file);

}  // namespace tracewise
