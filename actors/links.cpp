#include "actors/links.hpp"

#include <sys/socket.h>

#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/io/basp_broker.hpp>
#include <caf/io/middleman.hpp>
#include <caf/io/network/default_multiplexer.hpp>
#include <caf/io/network/interfaces.hpp>
#include <caf/io/network/stream_impl.hpp>
#include <caf/io/scribe.hpp>
#include <caf/send.hpp>
#include <map>
#include <mutex>
#include <set>
#include <utility>

#include "actors/ask.hpp"

namespace tracewise {
namespace {

using caf::io::network::default_multiplexer;
using caf::io::network::native_socket;
using caf::io::network::rw_state;

// The name under which BASP keeps the front; CAF calls it a port.
constexpr uint16_t kFrontPort = 1;

// Which sockets lead to which peer, so that they can be cut. Shared by Links and its scribes, which
// CAF may keep a moment longer.
class OpenSockets {
 public:
  void add(const std::string& peer, int fd) {
    const std::lock_guard lock(mutex_);
    by_peer_[peer].insert(fd);
    parted_.erase(peer);
  }
  // Before the socket is closed: its number may belong to somebody else afterwards.
  void remove(const std::string& peer, int fd) {
    const std::lock_guard lock(mutex_);
    const auto found = by_peer_.find(peer);
    found->second.erase(fd);
    if (!found->second.empty()) return;
    by_peer_.erase(found);
    parted_.insert(peer);
    changed_.notify_all();
  }
  bool wait_empty(std::chrono::steady_clock::time_point until) {
    std::unique_lock lock(mutex_);
    return Wait("their leave", "the nodes of the run", until).on(changed_, lock, [this] {
      return by_peer_.empty();
    });
  }
  void cut(const std::string& peer) {
    const std::lock_guard lock(mutex_);
    const auto found = by_peer_.find(peer);
    if (found == by_peer_.end()) return;
    for (const int fd : found->second)
      ::shutdown(fd, SHUT_RDWR);  // CAF reads the end and cleans up
  }
  std::vector<std::string> parted() const {
    const std::lock_guard lock(mutex_);
    return {parted_.begin(), parted_.end()};
  }
  void forget_parted() {
    const std::lock_guard lock(mutex_);
    parted_.clear();
  }

 private:
  mutable std::mutex mutex_;
  Condition changed_;
  std::map<std::string, std::set<int>> by_peer_;
  std::set<std::string> parted_;
};

// How CAF's stream reads and writes; what the names mean is CAF's. `success` without bytes is "not
// now".
class TlsPolicy {
 public:
  explicit TlsPolicy(std::unique_ptr<TlsStream> stream) : stream_(std::move(stream)) {}

  rw_state read_some(size_t& result, native_socket, void* buffer, size_t size) {
    result = 0;
    if (ended_) return rw_state::failure;
    return outcome(stream_->read_some({static_cast<std::byte*>(buffer), size}), result);
  }

  // All that the socket takes: one record at a time would cost a round through the loop each.
  rw_state write_some(size_t& result, native_socket, const void* buffer, size_t size) {
    result = 0;
    if (ended_) return rw_state::failure;
    if (size == 0) return rw_state::indeterminate;
    const auto* bytes = static_cast<const std::byte*>(buffer);
    while (result < size) {
      size_t written = 0;
      const auto state = outcome(stream_->write_some({bytes + result, size - result}), written);
      if (state == rw_state::failure) return state;
      if (written == 0) break;
      result += written;
    }
    return rw_state::success;
  }

  bool must_read_more(native_socket, size_t threshold) {
    return !ended_ && stream_->pending() >= threshold;
  }

 private:
  rw_state outcome(const TlsStep& step, size_t& bytes) {
    switch (step.state) {
      case TlsStep::State::kDone:
        bytes = step.bytes;
        return rw_state::success;
      case TlsStep::State::kWantRead:
      case TlsStep::State::kWantWrite:
        return rw_state::success;
      default:
        ended_ = true;
        return rw_state::failure;
    }
  }

  std::unique_ptr<TlsStream> stream_;
  bool ended_ = false;
};

// One connection, as CAF's broker sees it. CAF owns the socket from here on.
class LinkScribe final : public caf::io::scribe {
 public:
  LinkScribe(default_multiplexer& loop, native_socket fd, std::unique_ptr<TlsStream> stream,
             std::shared_ptr<OpenSockets> sockets)
      : scribe(caf::io::network::conn_hdl_from_socket(fd)),
        peer_(stream->peer()),
        sockets_(std::move(sockets)),
        stream_(loop, fd, std::move(stream)) {
    sockets_->add(peer_, fd);
  }
  ~LinkScribe() override { sockets_->remove(peer_, stream_.fd()); }

  void configure_read(caf::io::receive_policy::config config) override {
    stream_.configure_read(config);
    if (!std::exchange(launched_, true)) stream_.start(this);
  }
  void ack_writes(bool enable) override { stream_.ack_writes(enable); }
  std::vector<char>& wr_buf() override { return stream_.wr_buf(); }
  std::vector<char>& rd_buf() override { return stream_.rd_buf(); }
  void graceful_shutdown() override {
    stream_.graceful_shutdown();
    detach(&stream_.backend(), false);
  }
  void flush() override { stream_.flush(this); }
  // What CAF tells of the other side when it is asked, see peer_book(). CAF itself only logs it.
  std::string addr() const override { return peer_; }
  uint16_t port() const override {
    const auto found = caf::io::network::remote_port_of_fd(stream_.fd());
    return found ? *found : uint16_t{0};
  }
  void add_to_loop() override { stream_.activate(this); }
  void remove_from_loop() override { stream_.passivate(); }

 private:
  const std::string peer_;
  const std::shared_ptr<OpenSockets> sockets_;  // shared with Links and the other scribes
  caf::io::network::stream_impl<TlsPolicy> stream_;
  bool launched_ = false;
};

}  // namespace

void use_links(caf::actor_system_config& config, const MembershipOptions& membership) {
  using std::chrono::milliseconds;
  config.load<caf::io::middleman>();
  config.set("middleman.heartbeat-interval", caf::timespan(milliseconds(membership.heartbeat_ms)));
  config.set("middleman.connection-timeout", caf::timespan(milliseconds(2 * membership.lost_ms)));
}

caf::actor peer_book(caf::actor_system& system) {
  return system.middleman().named_broker<caf::io::basp_broker>(caf::atom("BASP"));
}

class Links::Impl {
 public:
  Impl(caf::actor_system& system, caf::strong_actor_ptr front)
      : system_(system), front_(std::move(front)), broker_(peer_book(system)) {}

  caf::io::scribe_ptr adopt(std::unique_ptr<TlsStream> stream) {
    auto& loop = static_cast<default_multiplexer&>(system_.middleman().backend());
    const native_socket fd = stream->release_socket();
    return caf::make_counted<LinkScribe>(loop, fd, std::move(stream), sockets_);
  }

  void accept(std::unique_ptr<TlsStream> stream) {
    caf::anon_send(broker_, caf::publish_atom::value, adopt(std::move(stream)), kFrontPort, front_,
                   std::set<std::string>());
  }

  Result<caf::strong_actor_ptr> connect(std::unique_ptr<TlsStream> stream, TimePoint deadline) {
    const std::string peer = stream->peer();
    const auto left = std::max(std::chrono::steady_clock::duration(std::chrono::milliseconds(1)),
                               deadline - std::chrono::steady_clock::now());
    Result<caf::strong_actor_ptr> front =
        io_error("the connection with node " + peer + " ended before it could be used");
    const auto asked = ask_actor(
        system_,
        {"its first words", peer, std::chrono::duration_cast<std::chrono::milliseconds>(left)},
        [&](const caf::node_id&, const caf::strong_actor_ptr& actor, const std::set<std::string>&) {
          front = actor;
        },
        broker_, caf::connect_atom::value, adopt(std::move(stream)), kFrontPort);
    if (!asked.ok() && asked.error().error_class == ErrorClass::kDeadline)
      front = Error{ErrorClass::kDeadline, "node " + peer + " did not say its first words"};
    return front;
  }

  void withdraw() {
    if (front_ == nullptr) return;
    caf::anon_send(broker_, caf::unpublish_atom::value, caf::actor_cast<caf::actor_addr>(front_),
                   kFrontPort);
    front_ = nullptr;
  }

  bool wait_alone(std::chrono::steady_clock::time_point until) {
    return sockets_->wait_empty(until);
  }
  void cut(const std::string& peer) { sockets_->cut(peer); }
  std::vector<std::string> parted() const { return sockets_->parted(); }
  void forget_parted() { sockets_->forget_parted(); }

 private:
  caf::actor_system& system_;
  caf::strong_actor_ptr front_;
  caf::actor broker_;
  std::shared_ptr<OpenSockets> sockets_ = std::make_shared<OpenSockets>();
};

Links::Links(caf::actor_system& system, caf::strong_actor_ptr front)
    : impl_(std::make_unique<Impl>(system, std::move(front))) {}
Links::~Links() = default;

void Links::accept(std::unique_ptr<TlsStream> stream) { impl_->accept(std::move(stream)); }

Result<caf::strong_actor_ptr> Links::connect(std::unique_ptr<TlsStream> stream,
                                             TimePoint deadline) {
  return impl_->connect(std::move(stream), deadline);
}

void Links::withdraw() { impl_->withdraw(); }

bool Links::wait_alone(std::chrono::steady_clock::time_point until) {
  return impl_->wait_alone(until);
}

void Links::cut(const std::string& peer) { impl_->cut(peer); }

std::vector<std::string> Links::parted() const { return impl_->parted(); }

void Links::forget_parted() { impl_->forget_parted(); }

}  // namespace tracewise
