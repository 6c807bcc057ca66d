// A descriptor by which one thread ends another's poll().
#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <cstdint>

#include "transport/socket.hpp"

namespace tracewise {

// Any thread may call.
class WakeFd {
 public:
  WakeFd() : event_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}
  explicit operator bool() const { return static_cast<bool>(event_); }  // false: no descriptor left
  int fd() const { return event_.get(); }  // readable from wake() to clear()

  void wake() {
    const uint64_t one = 1;
    // Fails only where it is readable already.
    [[maybe_unused]] const ssize_t written = ::write(event_.get(), &one, sizeof one);
  }
  void clear() {
    uint64_t count = 0;
    [[maybe_unused]] const ssize_t nothing = ::read(event_.get(), &count, sizeof count);
  }

 private:
  Fd event_;
};

}  // namespace tracewise
