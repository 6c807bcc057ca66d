// Files that are there whole or not at all, also after a crash of the machine.
#pragma once

#include <filesystem>
#include <string_view>

#include "messages/result.hpp"

namespace tracewise {

// Writes `bytes` beside `file`, forces them to the disk and renames. On failure `file` is as it was
// and nothing is left beside it. kIo names the file and the operating system's reason.
Result<void> write_file_durably(const std::filesystem::path& file, std::string_view bytes);

// The whole file.
Result<std::string> read_whole_file(const std::filesystem::path& file);

// Forces a file's contents, or a folder's entries, to the disk.
Result<void> sync_path(const std::filesystem::path& path);

// The same for a folder, everything in it and its own entry in the folder above.
Result<void> sync_tree(const std::filesystem::path& dir);

}  // namespace tracewise
