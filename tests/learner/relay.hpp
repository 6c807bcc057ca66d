// A relay of TCP connections on this host: what carries a rank group's connections, without TLS.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <thread>

#include "messages/check.hpp"

namespace tracewise {

// Listens on a port of 127.0.0.1; carries one connection to `target` of 127.0.0.2 until either side
// closes it. Of more than `most` bytes it carries those, then holds up the others until its end.
class Relay {
 public:
  explicit Relay(uint16_t target, uint64_t most = UINT64_MAX)
      : most_(most), listener_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address = at(INADDR_LOOPBACK, 0);
    TW_CHECK(::bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0 &&
                 ::listen(listener_, 1) == 0,
             "a free port");
    socklen_t size = sizeof(address);
    ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this, target] { carry(target); });
  }
  ~Relay() {
    ended_ = true;
    ::shutdown(listener_, SHUT_RDWR);  // for one that nobody called
    thread_.join();
    ::close(listener_);
  }
  Relay(const Relay&) = delete;
  Relay& operator=(const Relay&) = delete;

  uint16_t port() const { return port_; }
  uint64_t bytes() const { return bytes_; }  // carried so far, both ways

 private:
  static sockaddr_in at(uint32_t host, uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(host);
    address.sin_port = htons(port);
    return address;
  }

  void carry(uint16_t target) {
    const int near = ::accept(listener_, nullptr, nullptr);
    if (near < 0) return;
    const int far = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address = at(INADDR_LOOPBACK + 1, target);
    if (::connect(far, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0) {
      std::array<pollfd, 2> sides = {pollfd{near, POLLIN, 0}, pollfd{far, POLLIN, 0}};
      while (bytes_<most_&& ::poll(sides.data(), 2, -1)> 0 && pass(sides[0], far) &&
             pass(sides[1], near)) {
      }
      while (bytes_ >= most_ && !ended_) std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    ::close(near);
    ::close(far);
  }

  bool pass(const pollfd& from, int to) {
    if (from.revents == 0) return true;
    std::array<char, 65536> buffer;
    const ssize_t got = ::read(from.fd, buffer.data(), buffer.size());
    for (ssize_t sent = 0; sent < got;) {
      const ssize_t n =
          ::send(to, buffer.data() + sent, static_cast<size_t>(got - sent), MSG_NOSIGNAL);
      if (n <= 0) return false;
      sent += n;
    }
    if (got > 0) bytes_ += static_cast<uint64_t>(got);
    return got > 0;
  }

  const uint64_t most_;
  int listener_;
  uint16_t port_ = 0;
  std::atomic<uint64_t> bytes_{0};
  std::atomic<bool> ended_{false};
  std::thread thread_;
};

}  // namespace tracewise
