#include "tests/tcp_proxy.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace tracewise {
namespace {

constexpr size_t kBufferBytes = size_t{64} << 10;
constexpr int kTickMs = 2;  // of a limited rate

bool would_block(ssize_t result) {
  return result < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR);
}

}  // namespace

TcpProxy::TcpProxy(uint16_t target) : target_(target), wake_(::eventfd(0, EFD_CLOEXEC)) {
  auto listener = listen_on("127.0.0.1", 0, 0);
  TW_CHECK(listener.ok() && wake_, "a test has a port and a descriptor");
  listener_ = std::move(listener->fd);
  port_ = listener->port;
  thread_ = std::thread([this] { run(); });
}

TcpProxy::~TcpProxy() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  wake();
  thread_.join();
}

void TcpProxy::plan(std::deque<ProxyFault> faults) {
  const std::lock_guard lock(mutex_);
  faults_ = std::move(faults);
}

void TcpProxy::cut_all() {
  {
    const std::lock_guard lock(mutex_);
    for (Connection& connection : connections_) connection.over = true;
  }
  wake();
}

void TcpProxy::stall_all() {
  {
    const std::lock_guard lock(mutex_);
    for (Connection& connection : connections_) connection.stalled = true;
  }
  wake();
}

void TcpProxy::set_rate(uint64_t bytes_per_second) {
  {
    const std::lock_guard lock(mutex_);
    rate_ = bytes_per_second;
  }
  wake();
}

std::vector<TcpProxy::Count> TcpProxy::counts() const {
  const std::lock_guard lock(mutex_);
  return counts_;
}

size_t TcpProxy::open_connections() const {
  const std::lock_guard lock(mutex_);
  return connections_.size();
}

void TcpProxy::wake() {
  const uint64_t one = 1;
  TW_CHECK(::write(wake_.get(), &one, sizeof one) == sizeof one, "the proxy can be woken");
}

void TcpProxy::run() {
  for (;;) {
    wait_for_traffic();
    const std::lock_guard lock(mutex_);
    if (closing_) {
      connections_.clear();
      return;
    }
    refill(std::chrono::steady_clock::now());
    accept_one();
    for (Connection& connection : connections_) serve(connection);
    connections_.remove_if([](const Connection& connection) { return connection.over; });
  }
}

void TcpProxy::wait_for_traffic() {
  std::vector<pollfd> waits = {{wake_.get(), POLLIN, 0}, {listener_.get(), POLLIN, 0}};
  bool held_back = false;
  {
    const std::lock_guard lock(mutex_);
    for (const Connection& connection : connections_) {
      if (connection.stalled) continue;
      for (const Pipe* pipe : {&connection.to_server, &connection.to_client}) {
        if (pipe->ended) continue;
        if (pipe->waiting.empty()) {
          waits.push_back({pipe->from->get(), POLLIN, 0});
        } else if (rate_ == 0 || pipe->budget > 0) {
          waits.push_back({pipe->to->get(), POLLOUT, 0});
        } else {
          held_back = true;
        }
      }
    }
  }
  ::poll(waits.data(), waits.size(), held_back ? kTickMs : -1);
  uint64_t count = 0;
  if ((waits[0].revents & POLLIN) != 0) (void)!::read(wake_.get(), &count, sizeof count);
}

void TcpProxy::refill(TimePoint now) {
  const double seconds = std::min(std::chrono::duration<double>(now - refilled_).count(), 0.05);
  const auto share = static_cast<uint64_t>(seconds * static_cast<double>(rate_));
  if (share == 0 && rate_ > 0) return;  // less than a byte: later
  refilled_ = now;
  for (Connection& connection : connections_) {
    for (Pipe* pipe : {&connection.to_server, &connection.to_client}) {
      pipe->budget = std::min(pipe->budget + share, rate_ / 20 + 1);
    }
  }
}

void TcpProxy::accept_one() {
  Fd client(::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (!client) return;
  const auto address = numeric_address("127.0.0.1", target_);
  Fd server(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int on = 1;  // or small writes wait for acknowledgements
  for (const Fd* fd : {&client, &server}) {
    ::setsockopt(fd->get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }
  counts_.push_back({});
  ProxyFault fault;
  if (!faults_.empty()) {
    fault = faults_.front();
    faults_.pop_front();
  }
  // Nobody listens at the target: the client's connection ends.
  if (::connect(server.get(), address->get(), address->length) != 0) return;
  Connection& made = connections_.emplace_back();
  made.client = std::move(client);
  made.server = std::move(server);
  made.fault = fault;
  made.to_server.from = made.to_client.to = &made.client;
  made.to_server.to = made.to_client.from = &made.server;
  made.number = counts_.size() - 1;
}

void TcpProxy::serve(Connection& connection) {
  for (Pipe* pipe : {&connection.to_server, &connection.to_client}) {
    if (connection.over || connection.stalled || strikes(connection)) break;
    read_from(connection, *pipe);
    write_to(connection, *pipe);
  }
  if (!connection.stalled) strikes(connection);
  counts_[connection.number] = {connection.to_server.forwarded, connection.to_client.forwarded};
  if (connection.to_server.ended && connection.to_client.ended) connection.over = true;
}

// Lets the fault happen once it is due; true: nothing more is to be done now.
bool TcpProxy::strikes(Connection& connection) {
  const ProxyFault& fault = connection.fault;
  Pipe& pipe =
      fault.way == ProxyFault::Way::kToServer ? connection.to_server : connection.to_client;
  if (fault.kind == ProxyFault::Kind::kNone || pipe.forwarded < fault.after_bytes) return false;
  switch (fault.kind) {
    case ProxyFault::Kind::kNone:
      return false;
    case ProxyFault::Kind::kCut:
      connection.over = true;
      return true;
    case ProxyFault::Kind::kStall:
      connection.stalled = true;
      return true;
    case ProxyFault::Kind::kEndWay:
      if (!pipe.ended) ::shutdown(pipe.to->get(), SHUT_WR);
      pipe.ended = true;
      return false;
  }
  return false;
}

void TcpProxy::read_from(Connection& connection, Pipe& pipe) {
  if (pipe.ended || pipe.from_ended || !pipe.waiting.empty()) return;
  pipe.waiting.resize(kBufferBytes);
  const ssize_t got =
      ::recv(pipe.from->get(), pipe.waiting.data(), pipe.waiting.size(), MSG_DONTWAIT);
  pipe.waiting.resize(static_cast<size_t>(std::max<ssize_t>(got, 0)));
  if (got > 0 || would_block(got)) return;
  if (got < 0) {
    connection.over = true;
    return;
  }
  pipe.from_ended = pipe.ended = true;
  ::shutdown(pipe.to->get(), SHUT_WR);
}

void TcpProxy::write_to(Connection& connection, Pipe& pipe) {
  if (pipe.ended || pipe.waiting.empty()) return;
  uint64_t size = pipe.waiting.size();
  const ProxyFault& fault = connection.fault;
  const bool faulty_way =
      (fault.way == ProxyFault::Way::kToServer) == (&pipe == &connection.to_server);
  if (fault.kind != ProxyFault::Kind::kNone && faulty_way) {
    size = std::min(size, fault.after_bytes - std::min(fault.after_bytes, pipe.forwarded));
  }
  if (rate_ > 0) size = std::min(size, pipe.budget);
  if (size == 0) return;
  const ssize_t sent =
      ::send(pipe.to->get(), pipe.waiting.data(), size, MSG_NOSIGNAL | MSG_DONTWAIT);
  if (would_block(sent)) return;
  if (sent < 0) {
    connection.over = true;
    return;
  }
  pipe.forwarded += static_cast<uint64_t>(sent);
  if (rate_ > 0) pipe.budget -= static_cast<uint64_t>(sent);
  pipe.waiting.erase(pipe.waiting.begin(), pipe.waiting.begin() + sent);
}

}  // namespace tracewise
