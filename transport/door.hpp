// A node's one listening port. Whoever comes must be of the run (mutual TLS 1.3), say a hello that
// fits, and ask for a channel that somebody serves; then the connection is handed to that channel's
// handler. Strangers cost at most max_pending descriptors, and each of them handshake_ms.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "messages/records.hpp"
#include "messages/result.hpp"
#include "transport/refusals.hpp"
#include "transport/tls.hpp"

namespace tracewise {

struct DoorOptions {
  std::string address = "0.0.0.0";  // to listen on, a number; "::" is all, IPv4 too
  uint16_t port = 0;                // 0: any
  bool fixed_port = false;          // false: if it is in use, the next free one of 64 after it
  int handshake_ms = 5000;          // TLS and hello together
  int max_pending = 64;             // unfinished connections; one more ends the oldest of them
};

// Any thread may call, except close() and the destructor: those wait for the door's own thread, so
// neither a handler nor a report may call them.
class Door {
 public:
  // Called in the door's thread, once the other side was told that it is accepted; everything else
  // waits meanwhile, so it passes the stream on and returns. Must not call serve() or
  // stop_serving().
  using Handler = std::function<void(std::unique_ptr<TlsStream>, const Hello&)>;
  using Report = RefusalBook::Report;  // called in the door's thread

  // Listens, and starts the door's thread. `own` is this node's hello; its channel, address and
  // port have no meaning here. kBadInput: no such address. kIo: the port is in use, or may not be
  // taken.
  [[nodiscard]] static Result<std::unique_ptr<Door>> open(const DoorOptions& options,
                                                          const TlsContext& context,
                                                          const Hello& own, Report report = {});
  ~Door();
  Door(const Door&) = delete;
  Door& operator=(const Door&) = delete;

  uint16_t port() const;  // that it listens on

  // Hands connections for `channel` to `handler`, in place of the one before.
  void serve(Channel channel, Handler handler);
  // Refuses connections for `channel` from now on. Its handler does not run after this returns.
  void stop_serving(Channel channel);

  DoorCounters counters() const;

  // Ends the thread, closes the port and all connections that no handler has. Handed ones live on.
  void close();

 private:
  class Impl;
  explicit Door(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace tracewise
