#include "transport/secret_file.hpp"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "transport/socket.hpp"

namespace tracewise {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxSecretBytes = size_t{64} << 10;

Error system_error(const char* what, const fs::path& file) {
  return io_error(std::string("cannot ") + what + " " + file.string() + ": " +
                  std::strerror(errno));
}

Result<void> write_and_sync(int fd, std::string_view text, const fs::path& file) {
  while (!text.empty()) {
    const ssize_t written = ::write(fd, text.data(), text.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      return system_error("write", file);
    }
    text.remove_prefix(static_cast<size_t>(written));
  }
  if (::fsync(fd) != 0) return system_error("sync", file);
  return {};
}

Result<void> sync_folder(const fs::path& folder) {
  const Fd fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd || ::fsync(fd.get()) != 0) return system_error("sync", folder);
  return {};
}

}  // namespace

Result<void> write_secret_file(const fs::path& file, std::string_view text) {
  std::string beside = file.string() + ".partial-XXXXXX";
  const Fd fd(::mkostemp(beside.data(), O_CLOEXEC));  // O_EXCL, mode 0600
  if (!fd) return system_error("create", file);
  auto written = write_and_sync(fd.get(), text, file);
  if (written.ok() && ::rename(beside.c_str(), file.c_str()) != 0) {
    written = system_error("rename a file to", file);
  }
  if (!written.ok()) {
    ::unlink(beside.c_str());
    return written;
  }
  return sync_folder(file.has_parent_path() ? file.parent_path() : fs::path("."));
}

Result<std::string> read_secret_file(const fs::path& file) {
  // Without O_NONBLOCK a named pipe in the file's place would hold us up for good.
  const Fd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd) return system_error("open", file);
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) return system_error("read", file);
  if (!S_ISREG(status.st_mode)) return bad_input(file.string() + " is not a plain file");
  if ((status.st_mode & 077) != 0) {
    char mode[8];
    std::snprintf(mode, sizeof mode, "%04o", static_cast<unsigned>(status.st_mode & 07777));
    return bad_input(file.string() + " holds a private key but has mode " + mode +
                     ", open to others than its owner; make it anew, or chmod 600 it if nobody " +
                     "can have read it");
  }
  std::string text(kMaxSecretBytes + 1, '\0');
  size_t size = 0;
  while (size < text.size()) {
    const ssize_t count = ::read(fd.get(), text.data() + size, text.size() - size);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return system_error("read", file);
    if (count == 0) break;
    size += static_cast<size_t>(count);
  }
  if (size > kMaxSecretBytes) {
    return bad_input(file.string() + " is larger than " + std::to_string(kMaxSecretBytes) +
                     " bytes");
  }
  text.resize(size);
  return text;
}

}  // namespace tracewise
