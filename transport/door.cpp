#include "transport/door.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <cstring>
#include <list>
#include <map>
#include <mutex>
#include <thread>

#include "messages/codec.hpp"
#include "messages/validate.hpp"
#include "messages/waits.hpp"
#include "transport/hello.hpp"
#include "transport/socket.hpp"

namespace tracewise {
namespace {

namespace asio = boost::asio;
using Descriptor = asio::posix::stream_descriptor;
using State = TlsStep::State;

// Within which the door's thread ends once it is closed.
constexpr std::chrono::seconds kEndLimit{10};
constexpr uint16_t kPortsToTry = 64;
constexpr auto kNoResourcePause = std::chrono::milliseconds(50);

// A connection that no handler has yet. Owned by its place in the list of guests, by the coroutine
// that serves it and by the handler of its timer, whichever ends last.
struct Guest {
  Guest(asio::io_context& io, std::unique_ptr<TlsStream> connection, std::string address)
      : stream(std::move(connection)), readiness(io), timer(io), from(std::move(address)) {}
  // The stream owns the descriptor.
  ~Guest() {
    if (stream && readiness.is_open()) readiness.release();
  }

  std::unique_ptr<TlsStream> stream;  // null: it is no longer ours to serve
  Descriptor readiness;
  asio::steady_timer timer;
  std::string from;
  std::list<std::shared_ptr<Guest>>::iterator place;
};
using GuestPtr = std::shared_ptr<Guest>;

bool lacks_resource(int failure) {
  return failure == EMFILE || failure == ENFILE || failure == ENOBUFS || failure == ENOMEM;
}

// What the other side is told, and what is counted if that is a refusal.
struct Verdict {
  HelloReply reply;
  Refusal why = Refusal::kHello;
};

}  // namespace

class Door::Impl {
 public:
  Impl(const DoorOptions& options, const TlsContext& context, const Hello& own, Report report,
       Listener listener)
      : options_(options),
        context_(context),
        own_(own),
        port_(listener.port),
        book_(std::move(report)),
        listener_(io_, listener.fd.release()),
        pause_(io_) {
    spawn(take_guests());
    thread_ = std::thread([this] {
      const NamedThread named("door");
      Wait("guests").run(io_);
    });
  }
  ~Impl() { close(); }

  void close() {
    const std::lock_guard lock(close_mutex_);
    if (!thread_.joinable()) return;
    TW_CHECK(std::this_thread::get_id() != thread_.get_id(), "a door is not closed by its handler");
    asio::post(io_, [this] {
      closing_ = true;
      listener_.close();
      pause_.cancel();
      while (!guests_.empty()) let_go(guests_.front());
    });
    Wait("its end", "the door", std::chrono::steady_clock::now() + kEndLimit).join(thread_);
  }

  uint16_t port() const { return port_; }

  void set_handler(Channel channel, Handler handler) {
    const std::lock_guard lock(handlers_mutex_);
    if (handler) {
      handlers_[channel] = std::move(handler);
    } else {
      handlers_.erase(channel);
    }
  }

  DoorCounters counters() const { return book_.counters(); }

 private:
  using Task = asio::awaitable<bool>;

  void spawn(asio::awaitable<void> task) {
    asio::co_spawn(io_, std::move(task), [](std::exception_ptr failure) {
      if (failure) std::rethrow_exception(failure);  // a bug of ours: it ends the process
    });
  }

  // Waits; false: it ended early, because the descriptor or timer was cancelled.
  Task ready(Descriptor& descriptor, Descriptor::wait_type type) {
    boost::system::error_code failure;
    co_await descriptor.async_wait(type, asio::redirect_error(asio::use_awaitable, failure));
    co_return !failure;
  }

  asio::awaitable<void> take_guests() {
    while (!closing_) {
      if (!co_await ready(listener_, Descriptor::wait_read)) continue;
      if (closing_ || take_guest()) continue;
      // The reason won't go away at once, and the listener stays readable: don't spin.
      boost::system::error_code ignored;
      pause_.expires_after(kNoResourcePause);
      co_await pause_.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    }
  }

  // Accepts one connection; false: the system has no room at the moment.
  bool take_guest() {
    SocketAddress address;
    address.length = sizeof address.storage;
    Fd socket(::accept4(listener_.native_handle(), reinterpret_cast<sockaddr*>(&address.storage),
                        &address.length, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!socket) {
      if (!lacks_resource(errno)) return true;  // it was gone again
      refuse(Refusal::kNoResource, "", std::string("cannot accept: ") + std::strerror(errno));
      if (guests_.empty()) return false;
      evict_oldest();
      return true;
    }
    return admit(std::move(socket), to_string(address));
  }

  // Serves a new connection in a coroutine of its own; false: the system has no room at the moment.
  bool admit(Fd socket, const std::string& from) {
    if (guests_.size() >= static_cast<size_t>(options_.max_pending)) evict_oldest();
    const auto guest = std::make_shared<Guest>(io_, context_.accepting(std::move(socket)), from);
    boost::system::error_code failure;
    guest->readiness.assign(guest->stream->fd(), failure);
    if (failure) {
      refuse(Refusal::kNoResource, from, "cannot watch a connection: " + failure.message());
      return false;
    }
    guest->place = guests_.insert(guests_.end(), guest);
    guest->timer.expires_after(std::chrono::milliseconds(options_.handshake_ms));
    guest->timer.async_wait([this, guest](const boost::system::error_code& cancelled) {
      if (!cancelled) turn_away(guest, Refusal::kTimedOut, "its hello was not there in time");
    });
    spawn(receive(guest));
    return true;
  }

  // Runs `step` until it is done, and sets `bytes`; false: the guest is gone, for a failure or
  // because somebody else let it go meanwhile.
  template <class Step>
  Task finish(GuestPtr guest, Step step, size_t& bytes) {
    while (guest->stream) {
      const TlsStep made = step(*guest->stream);
      switch (made.state) {
        case State::kDone:
          bytes = made.bytes;
          co_return true;
        case State::kWantRead:
          co_await ready(guest->readiness, Descriptor::wait_read);
          break;
        case State::kWantWrite:
          co_await ready(guest->readiness, Descriptor::wait_write);
          break;
        case State::kClosed:
        case State::kCut:
          turn_away(guest, Refusal::kLeft, made.message);
          break;
        case State::kFailed:
          turn_away(guest, Refusal::kTls, made.message);
          break;
      }
    }
    co_return false;
  }

  Task read(GuestPtr guest, std::span<std::byte> buffer) {
    while (!buffer.empty()) {
      size_t bytes = 0;
      const auto step = [buffer](TlsStream& stream) { return stream.read_some(buffer); };
      if (!co_await finish(guest, step, bytes)) co_return false;
      buffer = buffer.subspan(bytes);
    }
    co_return true;
  }

  Task write(GuestPtr guest, std::span<const std::byte> buffer) {
    while (!buffer.empty()) {
      size_t bytes = 0;
      const auto step = [buffer](TlsStream& stream) { return stream.write_some(buffer); };
      if (!co_await finish(guest, step, bytes)) co_return false;
      buffer = buffer.subspan(bytes);
    }
    co_return true;
  }

  asio::awaitable<void> receive(GuestPtr guest) {
    size_t none = 0;
    const auto shake = [](TlsStream& stream) { return stream.handshake(); };
    if (!co_await finish(guest, shake, none)) co_return;

    std::array<std::byte, kHelloPrefixBytes> prefix;
    if (!co_await read(guest, prefix)) co_return;
    const auto bytes = framed_bytes(prefix);
    if (!bytes.ok()) {
      turn_away(guest, Refusal::kHello, bytes.error().message);
      co_return;
    }
    std::string message(*bytes, '\0');
    if (!co_await read(guest, std::as_writable_bytes(std::span(message)))) co_return;

    Hello hello;
    const Verdict verdict = judge(message, guest->stream->peer(), hello);
    const auto reply = encode(verdict.reply);
    TW_CHECK(reply.ok(), "a reply is small");
    const std::string frame = framed(*reply);
    if (!co_await write(guest, std::as_bytes(std::span(frame)))) co_return;
    if (verdict.reply.accepted) {
      hand_over(guest, hello);
    } else {
      guest->stream->shut_down();
      turn_away(guest, verdict.why, verdict.reply.reason);
    }
  }

  Verdict judge(const std::string& message, const std::string& peer, Hello& hello) {
    HelloReply reply{false, "", own_.protocol, own_.build, own_.node, false};
    auto fits = decode(message, hello);
    if (fits.ok()) fits = check_hello(own_, hello, peer);
    if (!fits.ok()) {
      reply.reason = fits.error().message;
      return {reply, Refusal::kHello};
    }
    if (!serves(hello.channel)) {
      reply.reason = unserved(hello.channel);
      reply.later = true;
      return {reply, Refusal::kChannel};
    }
    reply.accepted = true;
    return {reply};
  }

  bool serves(Channel channel) {
    const std::lock_guard lock(handlers_mutex_);
    return handlers_.contains(channel);
  }

  std::string unserved(Channel channel) const {
    return "node '" + own_.node + "' does not serve the channel '" + to_string(channel) + "' now";
  }

  void hand_over(const GuestPtr& guest, const Hello& hello) {
    const std::lock_guard lock(handlers_mutex_);
    const auto handler = handlers_.find(hello.channel);
    if (handler == handlers_.end()) {  // gone since it was told that it is accepted
      turn_away(guest, Refusal::kChannel, unserved(hello.channel));
      return;
    }
    std::unique_ptr<TlsStream> stream = let_go(guest);
    book_.add_accepted();
    handler->second(std::move(stream), hello);
  }

  // Ends a guest's time here. Its stream, unless taken from the result, closes. The coroutine that
  // serves it finds no stream when it goes on.
  std::unique_ptr<TlsStream> let_go(GuestPtr guest) {
    guests_.erase(guest->place);
    guest->timer.cancel();
    guest->readiness.release();
    return std::move(guest->stream);
  }

  void turn_away(GuestPtr guest, Refusal why, const std::string& sentence) {
    if (!guest->stream) return;
    let_go(guest);
    refuse(why, guest->from, sentence);
  }

  void evict_oldest() {
    turn_away(guests_.front(), Refusal::kEvicted, "it had to make room for a newer connection");
  }

  void refuse(Refusal why, const std::string& from, const std::string& sentence) {
    book_.add(why, from, sentence, std::chrono::steady_clock::now());
  }

  const DoorOptions options_;
  const TlsContext context_;
  const Hello own_;
  const uint16_t port_;

  RefusalBook book_;

  // Of the door's thread alone.
  asio::io_context io_{1};
  Descriptor listener_;
  asio::steady_timer pause_;
  std::list<GuestPtr> guests_;  // oldest first
  bool closing_ = false;

  std::mutex handlers_mutex_;
  std::map<Channel, Handler> handlers_;

  std::mutex close_mutex_;
  std::thread thread_;
};

Result<std::unique_ptr<Door>> Door::open(const DoorOptions& options, const TlsContext& context,
                                         const Hello& own, Report report) {
  TW_CHECK(options.handshake_ms > 0 && options.max_pending > 0,
           "a door has room and time for one connection at least");
  TW_TRY(validate(own));
  const bool one_port = options.fixed_port || options.port == 0;
  const uint32_t last = one_port ? options.port : uint32_t{options.port} + kPortsToTry;
  TW_ASSIGN(Listener listener, listen_on(options.address, options.port,
                                         static_cast<uint16_t>(std::min<uint32_t>(last, 65535))));
  try {
    return std::unique_ptr<Door>(new Door(
        std::make_unique<Impl>(options, context, own, std::move(report), std::move(listener))));
  } catch (const std::system_error& failure) {  // Asio's too
    return Error{ErrorClass::kResource,
                 std::string("no thread or descriptor for the door: ") + failure.what()};
  }
}

Door::Door(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Door::~Door() = default;

uint16_t Door::port() const { return impl_->port(); }

void Door::serve(Channel channel, Handler handler) {
  TW_CHECK(handler, "a channel is served by somebody");
  impl_->set_handler(channel, std::move(handler));
}

void Door::stop_serving(Channel channel) { impl_->set_handler(channel, nullptr); }

DoorCounters Door::counters() const { return impl_->counters(); }

void Door::close() { impl_->close(); }

}  // namespace tracewise
