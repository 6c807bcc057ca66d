// Mutual TLS 1.3 between the nodes of a run. A stream owns its socket and works on it directly,
// with no event loop of its own: whoever has the stream polls fd(), and a finished handshake leaves
// nothing behind in other buffers when it is handed to another loop.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "messages/result.hpp"
#include "transport/identity.hpp"
#include "transport/socket.hpp"

struct ssl_ctx_st;
struct ssl_st;

namespace tracewise {

// What became of one non-blocking step.
struct TlsStep {
  enum class State {
    kDone,
    kWantRead,   // again, as it was, once fd() is readable
    kWantWrite,  // again, as it was, once fd() is writable
    kClosed,     // the peer said goodbye: nothing more comes
    kCut,        // the connection ended without a goodbye
    kFailed,     // the peer is not of this run, or what it sends is not TLS 1.3
  };
  State state = State::kDone;
  size_t bytes = 0;     // read or written, for kDone
  std::string message;  // why, for kClosed, kCut and kFailed; a part of a sentence
};

// A connection. Not thread-safe: one thread at a time reads, writes or asks. A peer's end never
// raises SIGPIPE. After kCut or kFailed it may only be shut down, which then does nothing, and
// destroyed. Closes its socket when it dies.
class TlsStream {
 public:
  ~TlsStream();
  TlsStream(const TlsStream&) = delete;
  TlsStream& operator=(const TlsStream&) = delete;

  // To be repeated until kDone, before anything else.
  TlsStep handshake();

  // Reads at least one byte into `buffer` (not empty). As TLS comes in records, bytes may be
  // pending() although fd() is not readable: read until kWantRead before polling.
  TlsStep read_some(std::span<std::byte> buffer);

  // Writes at least one byte of `bytes` (not empty), at most a record (16 KiB). After kWantWrite or
  // kWantRead the next call begins with the same bytes; they may lie elsewhere.
  TlsStep write_some(std::span<const std::byte> bytes);

  // Says goodbye; does not wait for the peer's. The stream can still be read.
  TlsStep shut_down();

  size_t pending() const;  // bytes that read_some() gives without a look at the socket
  int fd() const { return fd_.get(); }
  // The socket is the caller's from here on, to be closed after the stream's end.
  int release_socket() { return fd_.release(); }
  const std::string& peer() const { return peer_; }  // the node in its certificate, once verified

 private:
  friend class TlsContext;
  TlsStream(Fd fd, ssl_st* ssl) : fd_(std::move(fd)), ssl_(ssl) {}
  TlsStep outcome(int code);
  TlsStep take_peer();

  Fd fd_;
  ssl_st* ssl_;
  std::string peer_;
  bool broken_ = false;  // no further call may touch ssl_
};

// A connection whose peer is gone without a word (power, cable, network) ends after this time.
// Linux also ends one whose peer lives but leaves its socket full and unread for as long, so it
// must exceed the longest stall that a healthy node may have.
inline constexpr int kPeerTimeoutMs = 30000;

// What a node makes its connections with. A value: copies share one OpenSSL context. Any thread may
// call. Both sides must show a certificate that the run's own authority signed; no other authority,
// older protocol, resumption, early data or compression is possible.
class TlsContext {
 public:
  // kBadInput: the identity's parts are unusable.
  [[nodiscard]] static Result<TlsContext> create(const Identity& identity,
                                                 int peer_timeout_ms = kPeerTimeoutMs);

  // A stream over a connected TCP socket, as the side that accepted or that connected. Sets the
  // socket to non-blocking, no delay, and to end when its peer is gone.
  std::unique_ptr<TlsStream> accepting(Fd socket) const;
  std::unique_ptr<TlsStream> connecting(Fd socket) const;

 private:
  TlsContext(ssl_ctx_st* context, int peer_timeout_ms);
  std::unique_ptr<TlsStream> stream(Fd socket) const;

  std::shared_ptr<ssl_ctx_st> context_;  // owned by all copies of this value
  int peer_timeout_ms_;
};

// The same steps for callers with a thread to block. kDeadline; kCancelled once `stop_fd` (-1:
// none) is readable; kIo: the connection ended; kBadInput: the peer is not of this run.
[[nodiscard]] Result<void> shake_hands(TlsStream& stream, TimePoint deadline, int stop_fd = -1);
[[nodiscard]] Result<void> read_exactly(TlsStream& stream, std::span<std::byte> buffer,
                                        TimePoint deadline, int stop_fd = -1);
[[nodiscard]] Result<void> write_all(TlsStream& stream, std::span<const std::byte> bytes,
                                     TimePoint deadline, int stop_fd = -1);

}  // namespace tracewise
