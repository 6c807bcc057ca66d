#include "actors/durable_file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <system_error>

namespace tracewise {
namespace fs = std::filesystem;
namespace {

Error os_error(const fs::path& path, const char* what, int code) {
  return io_error(path.string() + ": " + what + ": " + std::strerror(code));
}

Result<void> write_and_sync(const fs::path& file, std::string_view bytes) {
  const int fd = ::open(file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) return os_error(file, "cannot be opened for writing", errno);
  int failure = 0;
  while (!bytes.empty() && failure == 0) {
    const ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written > 0) bytes.remove_prefix(static_cast<size_t>(written));
    if (written < 0 && errno != EINTR) failure = errno;
  }
  if (failure == 0 && ::fsync(fd) != 0) failure = errno;
  if (::close(fd) != 0 && failure == 0) failure = errno;
  if (failure != 0) return os_error(file, "cannot be written", failure);
  return {};
}

}  // namespace

Result<void> write_file_durably(const fs::path& file, std::string_view bytes) {
  fs::path beside = file;
  beside += ".tmp";
  Result<void> done = write_and_sync(beside, bytes);
  if (done.ok() && ::rename(beside.c_str(), file.c_str()) != 0) {
    done = os_error(file, "cannot be renamed into place", errno);
  }
  if (!done.ok()) {
    std::error_code ignored;  // the error that matters is already in `done`
    fs::remove(beside, ignored);
    return done;
  }
  return sync_path(file.parent_path());
}

Result<std::string> read_whole_file(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  if (!in) return os_error(file, "cannot be opened", errno);
  std::string bytes{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  if (in.bad()) return os_error(file, "cannot be read", errno);
  return bytes;
}

Result<void> sync_path(const fs::path& path) {
  const int fd = ::open(path.empty() ? "." : path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return os_error(path, "cannot be opened", errno);
  const int failure = ::fsync(fd) == 0 ? 0 : errno;
  ::close(fd);
  if (failure != 0) return os_error(path, "cannot be forced to the disk", failure);
  return {};
}

Result<void> sync_tree(const fs::path& dir) {
  std::error_code failure;
  fs::recursive_directory_iterator it(dir, failure);
  for (; !failure && it != fs::recursive_directory_iterator(); it.increment(failure)) {
    if (it->is_regular_file(failure) || it->is_directory(failure)) TW_TRY(sync_path(it->path()));
  }
  if (failure) return os_error(dir, "cannot be listed", failure.value());
  TW_TRY(sync_path(dir));
  return sync_path(dir.parent_path());
}

}  // namespace tracewise
