// Preloaded into a program, it kills the program at the n-th time that it writes to a run.db or
// forces it to the disk; n is in the file TRACEWISE_TEST_KILL. The write of an odd n is torn: half
// of it is done. Only once: the file is removed by it.
#include <dlfcn.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace {

template <class F>
F* next(F*, const char* name) {
  return reinterpret_cast<F*>(::dlsym(RTLD_NEXT, name));
}

long wanted() {
  static const long count = [] {
    const char* name = std::getenv("TRACEWISE_TEST_KILL");
    std::FILE* file = name == nullptr ? nullptr : std::fopen(name, "r");
    long n = 0;
    if (file == nullptr) return n;
    if (std::fscanf(file, "%ld", &n) != 1) n = 0;
    std::fclose(file);
    return n;
  }();
  return count;
}

bool is_database(int fd) {
  char link[32], path[PATH_MAX];
  std::snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const ssize_t size = ::readlink(link, path, sizeof path);
  const std::string_view name(path, size < 0 ? 0 : static_cast<size_t>(size));
  return name.ends_with("/run.db") || name.ends_with("/run.db-wal");
}

// Whether the program dies with this call.
bool dies(int fd) {
  static std::atomic<long> count{0};
  return wanted() > 0 && is_database(fd) && ++count == wanted() &&
         ::unlink(std::getenv("TRACEWISE_TEST_KILL")) == 0;
}

template <class Real>
ssize_t put(Real* real, int fd, const void* bytes, size_t size, off_t at) {
  if (!dies(fd)) return real(fd, bytes, size, at);
  if (wanted() % 2 == 1) (void)real(fd, bytes, size / 2, at);
  ::kill(::getpid(), SIGKILL);
  return -1;
}

template <class Real>
int force(Real* real, int fd) {
  if (dies(fd)) ::kill(::getpid(), SIGKILL);
  return real(fd);
}

}  // namespace

extern "C" {

ssize_t pwrite(int fd, const void* bytes, size_t size, off_t at) {
  static auto* const real = next(&pwrite, "pwrite");
  return put(real, fd, bytes, size, at);
}

ssize_t pwrite64(int fd, const void* bytes, size_t size, off64_t at) {
  static auto* const real = next(&pwrite64, "pwrite64");
  return put(real, fd, bytes, size, at);
}

int fsync(int fd) {
  static auto* const real = next(&fsync, "fsync");
  return force(real, fd);
}

int fdatasync(int fd) {
  static auto* const real = next(&fdatasync, "fdatasync");
  return force(real, fd);
}

}  // extern "C"
