#include "model/whole_folder.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>

#include "model/file_io.hpp"

namespace tracewise {
namespace {

namespace fs = std::filesystem;

Error rename_error(const fs::path& dir) {
  return io_error("cannot rename a folder to " + dir.string() + ": " + std::strerror(errno));
}

// Puts `beside` under the name `dir` in one step; what was there is removed afterwards.
Result<void> move_into_place(const fs::path& beside, const fs::path& dir) {
  const bool replaces = is_present(dir);
  fs::path old = beside;
  if (::renameat2(AT_FDCWD, beside.c_str(), AT_FDCWD, dir.c_str(),
                  replaces ? RENAME_EXCHANGE : RENAME_NOREPLACE) != 0) {
    if (errno != EINVAL && errno != ENOSYS) return rename_error(dir);
    // A file system without exchange (NFS): two renames, the first undone if the second fails.
    old += ".old";
    if (replaces && ::rename(dir.c_str(), old.c_str()) != 0) return rename_error(dir);
    if (::rename(beside.c_str(), dir.c_str()) != 0) {
      const Error error = rename_error(dir);
      if (replaces && ::rename(old.c_str(), dir.c_str()) != 0) return rename_error(dir);
      return error;
    }
  }
  TW_TRY(sync_directory(dir.parent_path()));
  std::error_code ignored;  // the new folder is in place; a leftover beside it does no harm
  if (replaces) fs::remove_all(old, ignored);
  return {};
}

// The absolute path of a folder to save to. kBadInput if it holds something else.
Result<fs::path> resolve_target(const fs::path& dir, const FolderKind& kind) {
  std::error_code failed;
  fs::path target = fs::weakly_canonical(fs::absolute(dir, failed), failed);
  if (failed) return io_error("cannot resolve " + dir.string() + ": " + failed.message());
  if (!target.has_filename()) target = target.parent_path();  // "name/"
  if (is_present(target) && !is_present(target / kind.marker) &&
      !(fs::is_directory(target, failed) && fs::is_empty(target, failed))) {
    return bad_input(target.string() + " exists and is not " + kind.name + "; name another one");
  }
  return target;
}

}  // namespace

Result<void> check_folder_target(const fs::path& dir, const FolderKind& kind) {
  TW_ASSIGN(const fs::path target, resolve_target(dir, kind));
  std::error_code failed;
  fs::create_directories(target.parent_path(), failed);
  if (failed)
    return io_error("cannot make " + target.parent_path().string() + ": " + failed.message());
  return check_writable(target);
}

Result<void> replace_folder(const fs::path& dir, const FolderKind& kind,
                            const std::function<Result<void>(const fs::path&)>& write) {
  TW_ASSIGN(const fs::path target, resolve_target(dir, kind));
  std::error_code failed;
  const fs::path beside = target.parent_path() / ("." + target.filename().string() + ".partial-" +
                                                  std::to_string(::getpid()));
  fs::remove_all(beside, failed);
  fs::create_directories(beside, failed);
  if (failed) return io_error("cannot create " + beside.string() + ": " + failed.message());
  auto saved = write(beside);
  if (saved.ok()) saved = move_into_place(beside, target);
  if (!saved.ok()) fs::remove_all(beside, failed);
  return saved;
}

}  // namespace tracewise
