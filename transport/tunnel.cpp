#include "transport/tunnel.hpp"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <list>
#include <mutex>
#include <stop_token>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "messages/waits.hpp"
#include "transport/dial.hpp"
#include "transport/socket.hpp"

namespace tracewise {
namespace {

using SteadyClock = std::chrono::steady_clock;

// What is on its way in one direction.
class Flow {
 public:
  bool empty() const { return begin_ == end_; }
  std::span<std::byte> room() { return bytes_; }  // of an empty one
  std::span<const std::byte> rest() const {
    return std::span(bytes_).subspan(begin_, end_ - begin_);
  }
  void filled(size_t bytes) {
    begin_ = 0;
    end_ = bytes;
  }
  void passed(size_t bytes) { begin_ += bytes; }

 private:
  std::vector<std::byte> bytes_ = std::vector<std::byte>(size_t{256} << 10);
  size_t begin_ = 0, end_ = 0;
};

// Carries both ways between a plain socket and a stream.
class Pump {
 public:
  Pump(Fd plain, std::unique_ptr<TlsStream> stream)
      : plain_(std::move(plain)), stream_(std::move(stream)) {
    ::fcntl(plain_.get(), F_SETFL, ::fcntl(plain_.get(), F_GETFL) | O_NONBLOCK);
    const int one = 1;
    ::setsockopt(plain_.get(), IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  }

  // Until either side ends or `stop_fd` is readable.
  void run(int stop_fd) {
    while (move()) {
      const auto on_plain =
          static_cast<short>((up_.empty() ? POLLIN : 0) | (down_.empty() ? 0 : POLLOUT));
      // Whoever is waited for by nobody is not asked: its end would be told again and again.
      std::array<pollfd, 3> waits = {pollfd{on_plain == 0 ? -1 : plain_.get(), on_plain, 0},
                                     pollfd{on_stream_ == 0 ? -1 : stream_->fd(), on_stream_, 0},
                                     pollfd{stop_fd, POLLIN, 0}};
      if (Wait("bytes to carry").poll(waits) < 0 && errno != EINTR) return;
      if (waits[2].revents != 0) return;
    }
    stream_->shut_down();
  }

 private:
  // Everything that goes without waiting. False: a side has ended.
  bool move() {
    for (bool moved = true; moved;) {
      moved = false;
      on_stream_ = 0;
      if (!take_plain(moved) || !give_stream(moved) || !take_stream(moved) || !give_plain(moved))
        return false;
    }
    return true;
  }

  bool take_plain(bool& moved) {
    if (!up_.empty()) return true;
    const ssize_t got = ::recv(plain_.get(), up_.room().data(), up_.room().size(), 0);
    if (got <= 0) return got < 0 && (errno == EAGAIN || errno == EINTR);
    up_.filled(static_cast<size_t>(got));
    moved = true;
    return true;
  }

  bool give_plain(bool& moved) {
    while (!down_.empty()) {
      const ssize_t sent =
          ::send(plain_.get(), down_.rest().data(), down_.rest().size(), MSG_NOSIGNAL);
      if (sent < 0) return errno == EAGAIN || errno == EINTR;
      down_.passed(static_cast<size_t>(sent));
      moved = true;
    }
    return true;
  }

  bool give_stream(bool& moved) {
    while (!up_.empty()) {
      const TlsStep step = stream_->write_some(up_.rest());
      if (step.state != TlsStep::State::kDone) return wait_for(step);
      up_.passed(step.bytes);
      moved = true;
    }
    return true;
  }

  bool take_stream(bool& moved) {
    if (!down_.empty()) return true;
    const TlsStep step = stream_->read_some(down_.room());
    if (step.state != TlsStep::State::kDone) return wait_for(step);
    down_.filled(step.bytes);
    moved = true;
    return true;
  }

  bool wait_for(const TlsStep& step) {
    if (step.state == TlsStep::State::kWantRead)
      on_stream_ |= POLLIN;
    else if (step.state == TlsStep::State::kWantWrite)
      on_stream_ |= POLLOUT;
    else
      return false;
    return true;
  }

  Fd plain_;
  std::unique_ptr<TlsStream> stream_;
  Flow up_, down_;       // to the stream, from it
  short on_stream_ = 0;  // what the stream waits for
};

// The port that a carried connection is for: its first two bytes, the lower one first.
using PortBytes = std::array<std::byte, 2>;

Result<Fd> connect_to_target(uint16_t port) {
  const auto address = numeric_address(kTunnelTarget, port);
  Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket || ::connect(socket.get(), address->get(), address->length) != 0)
    return io_error("nobody listens on " + to_string(*address));
  return socket;
}

}  // namespace

class Tunnel::Impl {
 public:
  Impl(Door& door, const TlsContext& context, const Hello& own, const TunnelOptions& options)
      : door_(door), context_(context), hello_(own), options_(options) {
    hello_.channel = Channel::kRanks;
    door_.serve(Channel::kRanks, [this](std::unique_ptr<TlsStream> stream, const Hello&) {
      if (!options_.peers.contains(stream->peer())) return;
      start([this, stream = std::make_shared<std::unique_ptr<TlsStream>>(std::move(stream))] {
        carry_in(std::move(*stream));
      });
    });
  }

  ~Impl() {
    door_.stop_serving(Channel::kRanks);
    stop_.request_stop();
    threads_.clear();  // joins them
  }

  Result<uint16_t> forward(const std::string& node, const std::string& host, uint16_t door_port,
                           uint16_t port) {
    TW_ASSIGN(Listener listener, listen_on("127.0.0.1", 0, 0));
    const uint16_t here = listener.port;
    const auto listening = std::make_shared<Fd>(std::move(listener.fd));
    const bool started =
        start([=, this] { carry_out(std::move(*listening), node, host, door_port, port); });
    if (!started) return io_error("no further connection can be carried to node " + node);
    return here;
  }

 private:
  struct Carrier {
    std::atomic<bool> done{false};
    std::jthread thread;
  };

  TimePoint deadline() const {
    return SteadyClock::now() + std::chrono::milliseconds(options_.connect_ms);
  }

  // False: there are as many as there may be, or the system gives no thread.
  template <class Body>
  bool start(Body body) {
    const std::lock_guard lock(mutex_);
    threads_.remove_if([](const Carrier& carrier) { return carrier.done.load(); });
    if (static_cast<int>(threads_.size()) >= options_.max_connections) return false;
    Carrier& carrier = threads_.emplace_back();
    try {
      carrier.thread = std::jthread([&carrier, body = std::move(body)] {
        const NamedThread named("tunnel");
        body();
        carrier.done = true;
      });
    } catch (const std::system_error&) {
      threads_.pop_back();
      return false;
    }
    return true;
  }

  void carry_out(Fd listener, const std::string& node, const std::string& host, uint16_t door_port,
                 uint16_t port) {
    const TimePoint limit = deadline();
    if (!wait_readable(listener.get(), limit, stopped_.fd()).ok()) return;
    Fd plain(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    listener.reset();
    if (!plain) return;
    auto stream = dial(host, door_port, context_, hello_, node, limit, stop_.get_token());
    if (!stream.ok()) return;
    const PortBytes wanted = {static_cast<std::byte>(port & 0xff),
                              static_cast<std::byte>(port >> 8)};
    if (!write_all(**stream, wanted, limit, stopped_.fd()).ok()) return;
    Pump(std::move(plain), std::move(*stream)).run(stopped_.fd());
  }

  void carry_in(std::unique_ptr<TlsStream> stream) {
    PortBytes wanted;
    if (!read_exactly(*stream, wanted, deadline(), stopped_.fd()).ok()) return;
    auto plain = connect_to_target(static_cast<uint16_t>(std::to_integer<int>(wanted[0]) |
                                                         std::to_integer<int>(wanted[1]) << 8));
    if (!plain.ok()) return;
    Pump(std::move(*plain), std::move(stream)).run(stopped_.fd());
  }

  Door& door_;
  const TlsContext context_;
  Hello hello_;
  const TunnelOptions options_;
  std::stop_source stop_;
  StopSignal stopped_{stop_.get_token()};
  std::mutex mutex_;
  std::list<Carrier> threads_;
};

Tunnel::Tunnel(Door& door, const TlsContext& context, const Hello& own,
               const TunnelOptions& options)
    : impl_(std::make_unique<Impl>(door, context, own, options)) {}

Tunnel::~Tunnel() = default;

Result<uint16_t> Tunnel::forward(const std::string& node, const std::string& host,
                                 uint16_t door_port, uint16_t port) {
  return impl_->forward(node, host, door_port, port);
}

}  // namespace tracewise
