// Folders that appear complete under their name or not at all.
#pragma once

#include <filesystem>
#include <functional>

#include "messages/result.hpp"

namespace tracewise {

// What a folder holds, by the file that shows it: only such a folder may be replaced.
struct FolderKind {
  const char* name;    // "a model folder"
  const char* marker;  // "config.json"
};

// Whether replace_folder(dir) may write there; makes the folders above it. kBadInput if `dir` holds
// something else, kIo if it cannot be written.
Result<void> check_folder_target(const std::filesystem::path& dir, const FolderKind& kind);

// `write` fills a new folder beside, which is then renamed to `dir`. On failure `dir` is as it was.
Result<void> replace_folder(
    const std::filesystem::path& dir, const FolderKind& kind,
    const std::function<Result<void>(const std::filesystem::path& beside)>& write);

}  // namespace tracewise
