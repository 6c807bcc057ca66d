// File descriptors, socket addresses and waits on them, as the door and those who dial it need
// them.
#pragma once

#include <sys/socket.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>

#include "messages/fd.hpp"
#include "messages/result.hpp"
#include "messages/waits.hpp"

namespace tracewise {

using TimePoint = std::chrono::steady_clock::time_point;

// An IPv4 or IPv6 address with its port.
struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t length = 0;

  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
  uint16_t port() const;
};

// "10.0.0.7:4000", "[fe80::1]:4000": how messages name a place.
std::string place_name(const std::string& host, uint16_t port);
std::string to_string(const SocketAddress& address);

// `host` as a number; nothing if it is a name. Never asks anybody, so it never blocks.
std::optional<SocketAddress> numeric_address(const std::string& host, uint16_t port);

// A TCP socket that listens on `host` (a number) and one of the ports first..last, the first that
// is free; port 0 is any. kBadInput: no such address. kIo: none is free, or the system refused.
struct Listener {
  Fd fd;
  uint16_t port = 0;
};
[[nodiscard]] Result<Listener> listen_on(const std::string& host, uint16_t first, uint16_t last);

// Turns a stop request into a descriptor that becomes readable, so that poll() hears of it.
class StopSignal {
 public:
  explicit StopSignal(const std::stop_token& stop);
  int fd() const { return event_.get(); }

 private:
  Fd event_;
  std::stop_callback<std::function<void()>> callback_;
};

// Blocks until `fd` can be read (or written). kDeadline, or kCancelled once `stop_fd` (-1: none) is
// readable. `who` is what the Wait is for. A broken connection counts as ready: the next call on it
// says what is wrong.
[[nodiscard]] Result<void> wait_readable(int fd, TimePoint deadline, int stop_fd = -1,
                                         std::string_view who = "the other side");
[[nodiscard]] Result<void> wait_writable(int fd, TimePoint deadline, int stop_fd = -1,
                                         std::string_view who = "the other side");

// Milliseconds until `deadline`, rounded up, at least 0: poll()'s timeout.
int poll_timeout_ms(TimePoint deadline);

}  // namespace tracewise
