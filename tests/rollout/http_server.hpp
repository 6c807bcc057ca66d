// An HTTP endpoint of a test's own on the loopback.
#pragma once

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <string>
#include <thread>

#include "messages/check.hpp"
#include "messages/fd.hpp"

namespace tracewise {

class HttpServer {
 public:
  // Gives the bytes of the reply to a request's head and body; "" keeps the client waiting.
  using Handler = std::function<std::string(const std::string& head, const std::string& body)>;

  explicit HttpServer(Handler handler) : handler_(std::move(handler)) {
    listener_.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    TW_CHECK(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), size) == 0 &&
                 ::listen(listener_.get(), 16) == 0 &&
                 ::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size) == 0,
             "a test's endpoint cannot listen");
    port_ = ntohs(address.sin_port);
    thread_ = std::jthread([this](const std::stop_token& stop) {
      while (!stop.stop_requested()) {
        pollfd fd{listener_.get(), POLLIN, 0};
        if (::poll(&fd, 1, 20) > 0) answer(Fd(::accept(listener_.get(), nullptr, nullptr)));
      }
    });
  }

  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_) + "/verify?v=1"; }
  int requests() const { return requests_; }

  static std::string reply(const std::string& status, const std::string& body) {
    return "HTTP/1.1 " + status + "\r\nContent-Length: " + std::to_string(body.size()) +
           "\r\n\r\n" + body;
  }

 private:
  void answer(Fd connection) {
    std::string text;
    char part[4096];
    size_t head_end = 0, wanted = 1;
    while (text.size() < wanted) {
      const ssize_t got = ::read(connection.get(), part, sizeof part);
      if (got <= 0) return;
      text.append(part, static_cast<size_t>(got));
      wanted = text.size() + 1;
      head_end = text.find("\r\n\r\n");
      if (head_end == std::string::npos) continue;
      const size_t at = text.find("Content-Length: ");
      wanted = head_end + 4 + std::stoul(text.substr(at + 16));
    }
    ++requests_;
    const std::string reply = handler_(text.substr(0, head_end), text.substr(head_end + 4));
    if (reply.empty()) {
      waiting_ = std::move(connection);
    } else {
      (void)!::write(connection.get(), reply.data(), reply.size());
    }
  }

  Handler handler_;
  Fd listener_, waiting_;
  uint16_t port_ = 0;
  std::atomic<int> requests_ = 0;
  std::jthread thread_;
};

}  // namespace tracewise
