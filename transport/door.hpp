// A node's one listening port. Whoever comes must be of the run (mutual TLS 1.3), say a hello that
// fits, and ask for a channel that somebody serves; then the connection is handed to that channel's
// handler. Strangers cost at most max_pending descriptors, and each of them handshake_ms.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "messages/records.hpp"
#include "messages/result.hpp"
#include "transport/tls.hpp"

namespace tracewise {

struct DoorOptions {
  std::string address = "0.0.0.0";  // to listen on, a number; "::" is all, IPv4 too
  uint16_t port = 0;                // 0: any
  bool fixed_port = false;          // false: if it is in use, the next free one of 64 after it
  int handshake_ms = 5000;          // TLS and hello together
  int max_pending = 64;             // unfinished connections; one more ends the oldest of them
};

// What ended a connection before a handler had it.
enum class Refusal : uint8_t {
  kTls,         // not TLS 1.3, or no certificate of this run
  kHello,       // no hello, or one of another build, run, config or name
  kChannel,     // nobody serves the channel
  kLeft,        // the other side ended it
  kTimedOut,    // not done within handshake_ms
  kEvicted,     // had to make room for a newer one
  kNoResource,  // the system gave no descriptor; it waits in the listen queue
};
inline constexpr size_t kRefusals = 7;

const char* to_string(Refusal refusal);  // "tls", "hello", ...

struct DoorCounters {
  uint64_t accepted = 0;  // handed to a handler
  std::array<uint64_t, kRefusals> refused{};
  uint64_t of(Refusal refusal) const { return refused[static_cast<size_t>(refusal)]; }
};

// A refusal for the log. At most 5 a second are told, so that nobody can flood it.
struct RefusalReport {
  Refusal why = Refusal::kTls;
  std::string from;      // "10.0.0.7:4001"; empty for kNoResource
  std::string sentence;  // what was wrong
  uint64_t untold = 0;   // refusals since the last report that were not told
};

// Any thread may call, except close() and the destructor: those wait for the door's own thread, so
// neither a handler nor a report may call them.
class Door {
 public:
  // Called in the door's thread, once the other side was told that it is accepted; everything else
  // waits meanwhile, so it passes the stream on and returns. Must not call serve() or
  // stop_serving().
  using Handler = std::function<void(std::unique_ptr<TlsStream>, const Hello&)>;
  using Report = std::function<void(const RefusalReport&)>;  // in the door's thread

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
