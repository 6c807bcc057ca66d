// Whole files in and out. A written file appears complete under its name or not at all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "messages/result.hpp"

namespace tracewise {

// The file's bytes. kIo with the system's reason; kBadInput if it is larger than `max_bytes`.
Result<std::string> read_file(const std::filesystem::path& file, uint64_t max_bytes);

// Of the file system's answers only "yes" counts; what cannot be seen is reported by its reader.
bool is_present(const std::filesystem::path& path);

// Writes the parts one after the other beside `file`, syncs, and renames over it.
// On failure `file` is as it was and nothing is left beside it.
Result<void> write_file(const std::filesystem::path& file,
                        std::span<const std::span<const std::byte>> parts);
Result<void> write_file(const std::filesystem::path& file, std::string_view text);

// Whether write_file(file) has a folder to write into: asked before long work whose result goes
// there. kIo names the folder.
Result<void> check_writable(const std::filesystem::path& file);

// Makes a rename inside `directory` durable.
Result<void> sync_directory(const std::filesystem::path& directory);

}  // namespace tracewise
