#include "transport/weights_server.hpp"

#include <atomic>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <deque>
#include <list>
#include <mutex>
#include <thread>

#include "messages/codec.hpp"
#include "messages/waits.hpp"
#include "transport/checksum.hpp"
#include "transport/chunk_wire.hpp"
#include "transport/hello.hpp"
#include "transport/shelf.hpp"

namespace tracewise {
namespace {

namespace asio = boost::asio;
using Descriptor = asio::posix::stream_descriptor;
using State = TlsStep::State;

// Within which a thread ends that is told to.
constexpr std::chrono::seconds kEndLimit{10};
constexpr size_t kTurnBytes = size_t{1} << 20;

// One receiver's connection. Owned by its place in its loop's list, by the coroutine that serves
// it and by the handler of its timer, whichever ends last. Of its loop's thread alone.
struct Connection {
  Connection(asio::io_context& io, std::unique_ptr<TlsStream> taken)
      : stream(std::move(taken)), readiness(io), limit(io), offered(io) {}
  // The stream owns the descriptor.
  ~Connection() {
    if (stream && readiness.is_open()) readiness.release();
  }

  std::unique_ptr<TlsStream> stream;  // null: it is over
  Descriptor readiness;
  asio::steady_timer limit;    // ends the connection
  asio::steady_timer offered;  // a wait for a version; cancelled when the shelf changes
  TransferKey transfer;
  std::optional<WeightsManifest> fetched;  // the version that its fetch is of, once found
  ShelfVersionPtr version;                 // the same; null once it has ended
  bool sending = false;                    // in the middle of an answer
  bool goodbye = false;                    // the receiver said it
  size_t turn = 0;                         // bytes written since it let others have theirs
  std::list<std::shared_ptr<Connection>>::iterator place;
};
using ConnectionPtr = std::shared_ptr<Connection>;

struct Loop {
  asio::io_context io{1};
  asio::executor_work_guard<asio::io_context::executor_type> work{io.get_executor()};
  std::list<ConnectionPtr> connections;
  std::thread thread;
};

}  // namespace

class WeightsServer::Impl {
 public:
  explicit Impl(const WeightsServerOptions& options)
      : options_(options), loops_(static_cast<size_t>(options.threads)) {}

  void start() {
    for (Loop& loop : loops_)
      loop.thread = std::thread([&loop] {
        const NamedThread named("weights server");
        Wait("requests").run(loop.io);
      });
  }

  ~Impl() {
    for (Loop& loop : loops_) {
      if (!loop.thread.joinable()) continue;  // start() failed before it
      asio::post(loop.io, [this, &loop] {
        while (!loop.connections.empty()) end(loop, loop.connections.front());
        loop.work.reset();
      });
      Wait("its end", "the weights server", std::chrono::steady_clock::now() + kEndLimit)
          .join(loop.thread);
    }
  }

  void take(std::unique_ptr<TlsStream> stream) {
    if (connections_.fetch_add(1) >= options_.max_connections) {
      --connections_;
      return;
    }
    Loop& loop = loops_[next_loop_.fetch_add(1) % loops_.size()];
    // Handlers must be copyable, a stream is not.
    auto connection = std::make_shared<Connection>(loop.io, std::move(stream));
    asio::post(loop.io, [this, &loop, connection] { begin(loop, connection); });
  }

  Result<void> offer(WeightsBuffer weights) {
    {
      const std::lock_guard lock(mutex_);
      TW_TRY(shelf_.put(std::move(weights), std::chrono::steady_clock::now()));
    }
    tell_loops();
    return {};
  }

  void abort(uint64_t epoch) {
    {
      const std::lock_guard lock(mutex_);
      shelf_.abort(epoch);
    }
    tell_loops();
  }

  uint64_t chunks_sent() const { return chunks_sent_; }

 private:
  using Task = asio::awaitable<bool>;

  // Wakes those who wait for a version, and cuts those in the middle of one that has ended: their
  // receivers ask again and are told why.
  void tell_loops() {
    for (Loop& loop : loops_) {
      asio::post(loop.io, [this, &loop] {
        const std::list<ConnectionPtr> all = loop.connections;
        for (const ConnectionPtr& connection : all) {
          connection->offered.cancel();
          if (!connection->version || !connection->version->ended) continue;
          if (connection->sending) end(loop, connection);
          connection->version.reset();
        }
      });
    }
  }

  void begin(Loop& loop, const ConnectionPtr& connection) {
    connection->place = loop.connections.insert(loop.connections.end(), connection);
    boost::system::error_code failure;
    connection->readiness.assign(connection->stream->fd(), failure);
    if (failure) {
      end(loop, connection);
      return;
    }
    connection->transfer.node = connection->stream->peer();
    asio::co_spawn(loop.io, serve(loop, connection), [](std::exception_ptr failed) {
      if (failed) std::rethrow_exception(failed);  // a bug of ours: it ends the process
    });
  }

  // Closes a connection, if nobody has yet. Its coroutine finds no stream when it goes on.
  void end(Loop& loop, const ConnectionPtr& connection) {
    if (!connection->stream) return;
    if (connection->fetched) {
      const std::lock_guard lock(mutex_);
      shelf_.close(connection->transfer, connection->goodbye, std::chrono::steady_clock::now());
    }
    connection->version.reset();
    connection->limit.cancel();
    connection->offered.cancel();
    if (connection->readiness.is_open()) connection->readiness.release();
    connection->stream.reset();
    loop.connections.erase(connection->place);
    --connections_;
  }

  void end_after(Loop& loop, const ConnectionPtr& connection, TimePoint deadline) {
    connection->limit.expires_at(deadline);
    connection->limit.async_wait(
        [this, &loop, connection](const boost::system::error_code& cancelled) {
          // A wait that is over can't be cancelled any more, but its deadline may have been moved.
          if (!cancelled && connection->limit.expiry() <= std::chrono::steady_clock::now()) {
            end(loop, connection);
          }
        });
  }

  // What a step that isn't done asks for: a wait, or the connection's end.
  asio::awaitable<void> settle(Loop& loop, ConnectionPtr connection, State state) {
    boost::system::error_code ignored;  // a wait that ends early finds no stream
    switch (state) {
      case State::kDone:
        break;
      case State::kWantRead:
        co_await connection->readiness.async_wait(
            Descriptor::wait_read, asio::redirect_error(asio::use_awaitable, ignored));
        break;
      case State::kWantWrite:
        co_await connection->readiness.async_wait(
            Descriptor::wait_write, asio::redirect_error(asio::use_awaitable, ignored));
        break;
      case State::kClosed:
        connection->goodbye = true;
        [[fallthrough]];
      case State::kCut:
      case State::kFailed:
        end(loop, connection);
        break;
    }
  }

  // False: the connection is over.
  Task read(Loop& loop, ConnectionPtr connection, std::span<std::byte> buffer) {
    while (!buffer.empty() && connection->stream) {
      const TlsStep made = connection->stream->read_some(buffer);
      buffer = buffer.subspan(made.bytes);
      if (made.state != State::kDone) co_await settle(loop, connection, made.state);
    }
    co_return connection->stream != nullptr;
  }

  Task write(Loop& loop, ConnectionPtr connection, std::span<const std::byte> buffer) {
    while (!buffer.empty() && connection->stream) {
      const TlsStep made = connection->stream->write_some(buffer);
      buffer = buffer.subspan(made.bytes);
      connection->turn += made.bytes;
      if (made.state != State::kDone) co_await settle(loop, connection, made.state);
      if (connection->turn < kTurnBytes) continue;
      connection->turn = 0;
      co_await asio::post(loop.io, asio::use_awaitable);
    }
    co_return connection->stream != nullptr;
  }

  asio::awaitable<void> serve(Loop& loop, ConnectionPtr connection) {
    for (;;) {
      end_after(loop, connection,
                std::chrono::steady_clock::now() + std::chrono::milliseconds(options_.idle_ms));
      std::array<std::byte, kHelloPrefixBytes> prefix;
      if (!co_await read(loop, connection, prefix)) co_return;
      const auto bytes = framed_bytes(prefix);
      std::string message(bytes.ok() ? *bytes : 0, '\0');
      if (!co_await read(loop, connection, std::as_writable_bytes(std::span(message)))) co_return;
      WeightsPull pull;
      const auto decoded = decode(message, pull);
      if (!decoded.ok() || !bytes.ok()) {
        co_await refuse(loop, connection, 0, bytes.ok() ? decoded.error() : bytes.error());
        end(loop, connection);
        co_return;
      }
      if (!co_await answer(loop, connection, pull)) co_return;
    }
  }

  Task answer(Loop& loop, ConnectionPtr connection, WeightsPull pull) {
    const auto limit = std::chrono::milliseconds(
        std::min(pull.deadline_ms, static_cast<uint64_t>(options_.max_transfer_ms)));
    const TimePoint deadline = std::chrono::steady_clock::now() + limit;
    end_after(loop, connection, deadline);
    for (;;) {
      const Result<bool> here = find(*connection, pull, deadline);
      if (!here.ok()) co_return co_await refuse(loop, connection, pull.chunk, here.error());
      if (*here) break;
      boost::system::error_code ignored;
      connection->offered.expires_at(deadline);
      co_await connection->offered.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
      if (!connection->stream) co_return false;
    }
    // Keeps the bytes while they are written, whatever becomes of the connection.
    const ShelfVersionPtr version = connection->version;
    const uint64_t size = chunk_size(pull.bytes, pull.chunk_bytes, pull.chunk);
    const std::span chunk(version->buffer.bytes.get() + pull.chunk * pull.chunk_bytes, size);
    const auto header = to_bytes({std::nullopt, pull.chunk, size, xxh3(chunk)});
    connection->sending = true;
    if (!co_await write(loop, connection, header)) co_return false;
    if (!co_await write(loop, connection, chunk)) co_return false;
    connection->sending = false;
    ++chunks_sent_;
    co_return true;
  }

  // Whether the version of `pull` is here, as the connection's own; false: still to be published.
  Result<bool> find(Connection& connection, const WeightsPull& pull, TimePoint deadline) {
    const std::lock_guard lock(mutex_);
    if (connection.fetched) {
      const WeightsManifest& sent = *connection.fetched;
      if (connection.transfer.transfer != pull.transfer || sent.version != pull.version ||
          sent.epoch != pull.epoch || sent.bytes != pull.bytes || sent.checksum != pull.checksum) {
        return bad_input("a connection carries one fetch of weights only");
      }
      if (!connection.version || connection.version->ended) return shelf_.why_ended(sent);
      return true;
    }
    connection.transfer.transfer = pull.transfer;
    TW_ASSIGN(connection.version, shelf_.open(connection.transfer, wanted_by(pull), deadline,
                                              std::chrono::steady_clock::now()));
    if (connection.version) connection.fetched = wanted_by(pull);
    return connection.version != nullptr;
  }

  Task refuse(Loop& loop, ConnectionPtr connection, uint64_t chunk, Error why) {
    const std::string sentence = why.message.substr(0, kMaxRefusalBytes);
    const auto bytes = std::as_bytes(std::span(sentence));
    const auto header = to_bytes({why.error_class, chunk, bytes.size(), xxh3(bytes)});
    if (!co_await write(loop, connection, header)) co_return false;
    co_return co_await write(loop, connection, bytes);
  }

  const WeightsServerOptions options_;
  std::deque<Loop> loops_;
  std::atomic<int> connections_{0};
  std::atomic<size_t> next_loop_{0};
  std::atomic<uint64_t> chunks_sent_{0};
  std::mutex mutex_;
  Shelf shelf_;
};

Result<std::unique_ptr<WeightsServer>> WeightsServer::start(const WeightsServerOptions& options) {
  TW_CHECK(options.threads > 0 && options.max_connections > 0 && options.idle_ms > 0 &&
               options.max_transfer_ms > 0,
           "a server has a thread, a connection and time for it");
  try {
    auto impl = std::make_unique<Impl>(options);
    impl->start();
    return std::unique_ptr<WeightsServer>(new WeightsServer(std::move(impl)));
  } catch (const std::system_error& failure) {  // Asio's too
    return Error{ErrorClass::kResource,
                 std::string("no thread or descriptor to serve weights: ") + failure.what()};
  }
}

WeightsServer::WeightsServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
WeightsServer::~WeightsServer() = default;

void WeightsServer::take(std::unique_ptr<TlsStream> stream) { impl_->take(std::move(stream)); }
Result<void> WeightsServer::offer(WeightsBuffer weights) {
  return impl_->offer(std::move(weights));
}
void WeightsServer::abort(uint64_t epoch) { impl_->abort(epoch); }
uint64_t WeightsServer::chunks_sent() const { return impl_->chunks_sent(); }

}  // namespace tracewise
