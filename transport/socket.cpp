#include "transport/socket.hpp"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

#include "messages/waits.hpp"

namespace tracewise {
namespace {

// Binds and listens; the errno of what failed, or 0.
int try_listen(const SocketAddress& address, Fd& out) {
  Fd fd(::socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return errno;
  // A node that starts again takes its port although old connections linger in TIME_WAIT.
  const int on = 1;
  const int off = 0;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (address.storage.ss_family == AF_INET6) {
    ::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
  }
  if (::bind(fd.get(), address.get(), address.length) != 0) return errno;
  if (::listen(fd.get(), SOMAXCONN) != 0) return errno;
  out = std::move(fd);
  return 0;
}

Result<void> wait_for(int fd, short events, TimePoint deadline, int stop_fd, std::string_view who) {
  const Wait wait((events & POLLIN) != 0 ? "bytes" : "room for bytes", who, deadline);
  for (;;) {
    pollfd waits[] = {{fd, events, 0}, {stop_fd, POLLIN, 0}};  // a negative fd is passed over
    const int ready = wait.poll(waits);
    if (ready < 0 && errno != EINTR) {
      return io_error(std::string("cannot wait for a socket: ") + std::strerror(errno));
    }
    if (ready > 0 && waits[1].revents != 0) {
      return Error{ErrorClass::kCancelled, "the wait for a socket was cancelled"};
    }
    if (ready > 0) return {};
    if (std::chrono::steady_clock::now() >= deadline) {
      return Error{ErrorClass::kDeadline, "the socket was not ready in time"};
    }
  }
}

}  // namespace

uint16_t SocketAddress::port() const {
  return ntohs(storage.ss_family == AF_INET6
                   ? reinterpret_cast<const sockaddr_in6*>(&storage)->sin6_port
                   : reinterpret_cast<const sockaddr_in*>(&storage)->sin_port);
}

std::string place_name(const std::string& host, uint16_t port) {
  const bool v6 = host.find(':') != std::string::npos;
  return (v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

std::string to_string(const SocketAddress& address) {
  char host[NI_MAXHOST];
  if (::getnameinfo(address.get(), address.length, host, sizeof host, nullptr, 0, NI_NUMERICHOST) !=
      0) {
    return "an unknown address";
  }
  return place_name(host, address.port());
}

std::optional<SocketAddress> numeric_address(const std::string& host, uint16_t port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  if (host.empty() ||
      ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found) != 0) {
    return std::nullopt;
  }
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner(found, &::freeaddrinfo);
  SocketAddress address;
  std::memcpy(&address.storage, found->ai_addr, found->ai_addrlen);
  address.length = found->ai_addrlen;
  return address;
}

Result<Listener> listen_on(const std::string& host, uint16_t first, uint16_t last) {
  TW_CHECK(first <= last, "the last port comes after the first");
  for (uint32_t port = first;; ++port) {
    const auto address = numeric_address(host, static_cast<uint16_t>(port));
    if (!address) {
      return bad_input("cannot listen on '" + host + "': it is no IPv4 or IPv6 address");
    }
    Listener listener;
    const int failure = try_listen(*address, listener.fd);
    if (failure == EADDRINUSE && port < last) continue;
    if (failure == EADDRINUSE) {
      return io_error(first == last ? "port " + std::to_string(first) + " on " + host +
                                          " is in use; give another one, or 0 for any"
                                    : "the ports " + std::to_string(first) + " to " +
                                          std::to_string(last) + " on " + host + " are all in use");
    }
    if (failure != 0) {
      return io_error("cannot listen on " + to_string(*address) + ": " + std::strerror(failure));
    }
    SocketAddress bound;
    bound.length = sizeof bound.storage;
    TW_CHECK(::getsockname(listener.fd.get(), reinterpret_cast<sockaddr*>(&bound.storage),
                           &bound.length) == 0,
             "a listening socket has a name");
    listener.port = bound.port();
    return listener;
  }
}

StopSignal::StopSignal(const std::stop_token& stop)
    : event_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)), callback_(stop, [this] {
        const uint64_t one = 1;
        // Fails only where it is readable already.
        [[maybe_unused]] const ssize_t written = ::write(event_.get(), &one, sizeof one);
      }) {}

Result<void> wait_readable(int fd, TimePoint deadline, int stop_fd, std::string_view who) {
  return wait_for(fd, POLLIN, deadline, stop_fd, who);
}

Result<void> wait_writable(int fd, TimePoint deadline, int stop_fd, std::string_view who) {
  return wait_for(fd, POLLOUT, deadline, stop_fd, who);
}

int poll_timeout_ms(TimePoint deadline) {
  const auto left =
      std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
  return static_cast<int>(std::clamp<int64_t>(left.count(), 0, 3600 * 1000));
}

}  // namespace tracewise
