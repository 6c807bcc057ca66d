#include "model/file_io.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace tracewise {
namespace {

namespace fs = std::filesystem;

class FileDescriptor {
 public:
  explicit FileDescriptor(int fd) : fd_(fd) {}
  ~FileDescriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  int get() const { return fd_; }
  // Closes now, because the last write error may only show here.
  int close() { return ::close(std::exchange(fd_, -1)); }

 private:
  int fd_;
};

Error system_error(const char* what, const fs::path& path) {
  return io_error(std::string("cannot ") + what + " " + path.string() + ": " +
                  std::strerror(errno));
}

Result<void> write_all(int fd, std::span<const std::byte> bytes, const fs::path& path) {
  constexpr size_t kChunk = size_t{1} << 30;  // write() takes at most 2 GiB at once
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd, bytes.data(), std::min(bytes.size(), kChunk));
    if (written < 0) {
      if (errno == EINTR) continue;
      return system_error("write", path);
    }
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  return {};
}

Result<void> write_and_sync(const fs::path& path,
                            std::span<const std::span<const std::byte>> parts) {
  FileDescriptor file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (file.get() < 0) return system_error("create", path);
  for (const auto& part : parts) TW_TRY(write_all(file.get(), part, path));
  if (::fsync(file.get()) != 0) return system_error("sync", path);
  if (file.close() != 0) return system_error("close", path);
  return {};
}

}  // namespace

bool is_present(const std::filesystem::path& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored);
}

Result<std::string> read_file(const fs::path& path, uint64_t max_bytes) {
  FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) return system_error("open", path);
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) return system_error("read", path);
  if (S_ISDIR(status.st_mode)) return bad_input(path.string() + " is a folder, not a file");
  std::string text;
  if (status.st_size > 0) text.reserve(std::min(static_cast<uint64_t>(status.st_size), max_bytes));
  char buffer[1 << 16];
  for (;;) {  // until the end and not up to st_size, so that pipes work
    const ssize_t count = ::read(file.get(), buffer, sizeof buffer);
    if (count < 0) {
      if (errno == EINTR) continue;
      return system_error("read", path);
    }
    if (count == 0) return text;
    text.append(buffer, static_cast<size_t>(count));
    if (text.size() > max_bytes) {
      return bad_input(path.string() + " is larger than the limit of " + std::to_string(max_bytes) +
                       " bytes");
    }
  }
}

Result<void> write_file(const fs::path& path, std::span<const std::span<const std::byte>> parts) {
  fs::path beside = path;
  beside += ".partial-" + std::to_string(::getpid());
  auto written = write_and_sync(beside, parts);
  if (written.ok() && ::rename(beside.c_str(), path.c_str()) != 0) {
    written = system_error("rename a file to", path);
  }
  if (!written.ok()) {
    ::unlink(beside.c_str());
    return written;
  }
  return sync_directory(path.has_parent_path() ? path.parent_path() : fs::path("."));
}

Result<void> write_file(const fs::path& path, std::string_view text) {
  const std::span<const std::byte> part = std::as_bytes(std::span(text));
  return write_file(path, std::span(&part, 1));
}

Result<void> check_writable(const fs::path& file) {
  const fs::path folder = file.has_parent_path() ? file.parent_path() : fs::path(".");
  if (::access(folder.c_str(), W_OK | X_OK) != 0) return system_error("write into", folder);
  return {};
}

Result<void> sync_directory(const fs::path& directory) {
  FileDescriptor folder(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder.get() < 0) return system_error("open", directory);
  if (::fsync(folder.get()) != 0) return system_error("sync", directory);
  return {};
}

}  // namespace tracewise
