// Preloaded into a program, it sets the program's wall clock: by as many seconds as the file
// TRACEWISE_TEST_CLOCK holds at that moment, an int64. The steady clock stays as it is.
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>

namespace {

const volatile int64_t* shared_offset() {
  static const volatile int64_t* const offset = []() -> const volatile int64_t* {
    static const int64_t none = 0;
    const char* file = std::getenv("TRACEWISE_TEST_CLOCK");
    const int fd = file == nullptr ? -1 : ::open(file, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return &none;
    void* at = ::mmap(nullptr, sizeof(int64_t), PROT_READ, MAP_SHARED, fd, 0);
    ::close(fd);
    return at == MAP_FAILED ? &none : static_cast<const int64_t*>(at);
  }
  ();
  return offset;
}

template <class F>
F* next(F*, const char* name) {
  return reinterpret_cast<F*>(::dlsym(RTLD_NEXT, name));
}

bool is_wall(clockid_t id) { return id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE; }

}  // namespace

extern "C" {

int clock_gettime(clockid_t id, struct timespec* time) noexcept {
  static auto* const real = next(&clock_gettime, "clock_gettime");
  const int code = real(id, time);
  if (code == 0 && is_wall(id)) time->tv_sec += *shared_offset();
  return code;
}

int gettimeofday(struct timeval* time, void* zone) noexcept {
  static auto* const real = next(&gettimeofday, "gettimeofday");
  const int code = real(time, zone);
  if (code == 0) time->tv_sec += *shared_offset();
  return code;
}

time_t time(time_t* out) noexcept {
  struct timespec now {};
  clock_gettime(CLOCK_REALTIME, &now);
  if (out != nullptr) *out = now.tv_sec;
  return now.tv_sec;
}

// The kernel knows nothing of our clock: a wait until a time of it is cut into short ones. A wait
// that ends early is a spurious wake, for which every caller has to be ready.
int pthread_cond_timedwait(pthread_cond_t* condition, pthread_mutex_t* mutex,
                           const struct timespec* until) {
  static auto* const real = next(&pthread_cond_timedwait, "pthread_cond_timedwait");
  static auto* const real_now = next(&clock_gettime, "clock_gettime");
  constexpr long kSliceNs = 20'000'000, kSecondNs = 1'000'000'000;
  constexpr time_t kAnyWallTime = 1'000'000'000;  // less is a time of the steady clock
  if (until->tv_sec < kAnyWallTime) return real(condition, mutex, until);
  struct timespec now {
  }, slice{};
  clock_gettime(CLOCK_REALTIME, &now);
  if (now.tv_sec > until->tv_sec ||
      (now.tv_sec == until->tv_sec && now.tv_nsec >= until->tv_nsec)) {
    real_now(CLOCK_REALTIME, &slice);
    return real(condition, mutex, &slice);
  }
  real_now(CLOCK_REALTIME, &slice);
  slice.tv_nsec += kSliceNs;
  slice.tv_sec += slice.tv_nsec / kSecondNs;
  slice.tv_nsec %= kSecondNs;
  const int code = real(condition, mutex, &slice);
  return code == ETIMEDOUT ? 0 : code;
}

}  // extern "C"
