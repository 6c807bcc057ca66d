#include "transport/dial.hpp"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "messages/codec.hpp"
#include "messages/validate.hpp"
#include "messages/waits.hpp"
#include "transport/hello.hpp"
#include "transport/resolve.hpp"
#include "transport/socket.hpp"

namespace tracewise {
namespace {

// The waits of a dial: for what place, until when, and what ends them early.
struct Limits {
  std::string_view place;
  TimePoint deadline;
  int stop_fd;
};

// An error of one part of a dial as a sentence of its own.
Error at_place(const std::string& place, const char* late, const Error& error) {
  switch (error.error_class) {
    case ErrorClass::kDeadline:
      return {ErrorClass::kDeadline, place + " " + late + " in time"};
    case ErrorClass::kCancelled:
      return {ErrorClass::kCancelled, "connecting to " + place + " was cancelled"};
    default:
      return {error.error_class, "cannot connect to " + place + ": " + error.message};
  }
}

// Starts a connection; the errno of its failure, or 0 while it is under way or done.
int start_connecting(const SocketAddress& address, Fd& out) {
  Fd fd(::socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return errno;
  if (::connect(fd.get(), address.get(), address.length) != 0 && errno != EINPROGRESS) {
    return errno;
  }
  out = std::move(fd);
  return 0;
}

int socket_failure(int fd) {
  int failure = 0;
  socklen_t size = sizeof failure;
  return ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &failure, &size) == 0 ? failure : errno;
}

// Takes the sockets that poll() reports out of `sockets`: the first connected one is returned,
// those that failed leave their errno in `failure`.
Fd take_connected(std::vector<Fd>& sockets, const std::vector<pollfd>& waits, int& failure) {
  Fd connected;
  for (size_t i = 0; i < sockets.size(); ++i) {
    if (waits[i].revents == 0) continue;
    const int failed = socket_failure(sockets[i].get());
    if (failed == 0) return std::move(sockets[i]);
    failure = failed;
    sockets[i].reset();
  }
  std::erase_if(sockets, [](const Fd& fd) { return !fd; });
  return connected;
}

// The first of all addresses to answer. All are tried at once, so that one that swallows everything
// doesn't keep us from the others.
Result<Fd> connect_any(const std::vector<SocketAddress>& addresses, Limits limits) {
  std::vector<Fd> sockets;
  int failure = 0;
  for (const SocketAddress& address : addresses) {
    Fd fd;
    if (const int failed = start_connecting(address, fd)) failure = failed;
    if (fd) sockets.push_back(std::move(fd));
  }
  while (!sockets.empty()) {
    std::vector<pollfd> waits;
    for (const Fd& fd : sockets) waits.push_back({fd.get(), POLLOUT, 0});
    waits.push_back({limits.stop_fd, POLLIN, 0});
    const int ready = Wait("a connection", limits.place, limits.deadline).poll(waits);
    if (ready < 0 && errno != EINTR) return io_error(std::strerror(errno));
    if (ready > 0 && waits.back().revents != 0) return Error{ErrorClass::kCancelled, ""};
    if (ready > 0) {
      Fd connected = take_connected(sockets, waits, failure);
      if (connected) return connected;
    } else if (std::chrono::steady_clock::now() >= limits.deadline) {
      return Error{ErrorClass::kDeadline, ""};
    }
  }
  return io_error(std::strerror(failure));
}

Result<void> send_hello(TlsStream& stream, const Hello& hello, Limits limits) {
  TW_ASSIGN(const std::string message, encode(hello));
  const std::string frame = framed(message);
  return write_all(stream, std::as_bytes(std::span(frame)), limits.deadline, limits.stop_fd);
}

Result<HelloReply> read_reply(TlsStream& stream, Limits limits) {
  std::array<std::byte, kHelloPrefixBytes> prefix;
  TW_TRY(read_exactly(stream, prefix, limits.deadline, limits.stop_fd));
  TW_ASSIGN(const size_t bytes, framed_bytes(prefix));
  std::string message(bytes, '\0');
  TW_TRY(read_exactly(stream, std::as_writable_bytes(std::span(message)), limits.deadline,
                      limits.stop_fd));
  HelloReply reply;
  TW_TRY(decode(message, reply));
  return reply;
}

Result<HelloReply> exchange_hello(TlsStream& stream, const Hello& hello, Limits limits) {
  const auto sent = send_hello(stream, hello, limits);
  if (!sent.ok()) return sent.error();
  auto reply = read_reply(stream, limits);
  // In TLS 1.3 the side that connects is done before the other has looked at its certificate: an
  // end without an answer is all that it may see of a refusal.
  if (!reply.ok() && reply.error().error_class == ErrorClass::kIo) {
    return io_error(reply.error().message +
                    " before it answered our hello; if it stays so, it may not take this node's "
                    "certificate (is its clock right?)");
  }
  return reply;
}

Error refusal(const std::string& place, const Hello& hello, const HelloReply& reply) {
  const std::string message = place + " refused the connection: " + reply.reason;
  if (reply.later) return io_error(message);
  const bool same = reply.protocol == hello.protocol && reply.build == hello.build;
  return same ? bad_input(message) : unsupported(message);
}

}  // namespace

Result<std::unique_ptr<TlsStream>> dial(const std::string& host, uint16_t port,
                                        const TlsContext& context, const Hello& hello,
                                        const std::string& expected_node, TimePoint deadline,
                                        std::stop_token stop) {
  TW_TRY(validate(hello));
  const std::string place = place_name(host, port);
  const StopSignal signal(stop);
  if (signal.fd() < 0) return io_error("cannot connect to " + place + ": no descriptor left");
  const Limits limits{place, deadline, signal.fd()};

  const auto addresses = resolve(host, port, deadline, stop);
  if (!addresses.ok()) return at_place(place, "was not resolved", addresses.error());
  auto socket = connect_any(*addresses, limits);
  if (!socket.ok()) return at_place(place, "did not take the connection", socket.error());

  auto stream = context.connecting(std::move(*socket));
  const auto shaken = shake_hands(*stream, deadline, limits.stop_fd);
  if (!shaken.ok()) {
    return at_place(place, "took the connection, but did not finish TLS", shaken.error());
  }
  if (!expected_node.empty() && stream->peer() != expected_node) {
    return bad_input(place + " is node '" + stream->peer() + "', not '" + expected_node + "'");
  }

  const auto reply = exchange_hello(*stream, hello, limits);
  if (!reply.ok()) return at_place(place, "did not answer our hello", reply.error());
  if (!reply->accepted) return refusal(place, hello, *reply);
  return stream;
}

}  // namespace tracewise
