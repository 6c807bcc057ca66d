// A network that misbehaves as a test tells it to: forwards TCP connections to a port of this
// machine, byte for byte, until a fault strikes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <list>
#include <mutex>
#include <thread>
#include <vector>

#include "transport/socket.hpp"

namespace tracewise {

// What happens to one connection once `after_bytes` bytes of it were forwarded on `way`.
struct ProxyFault {
  enum class Kind {
    kNone,
    kCut,     // both sides are closed
    kStall,   // nothing moves any more, both sides stay open: a black hole
    kEndWay,  // `way` ends in good order, the other goes on
  };
  enum class Way { kToServer, kToClient };
  Kind kind = Kind::kNone;
  uint64_t after_bytes = 0;
  Way way = Way::kToClient;
};

// Any thread may call. Ends all connections when it dies.
class TcpProxy {
 public:
  // Listens on 127.0.0.1 and forwards to `target` there.
  explicit TcpProxy(uint16_t target);
  ~TcpProxy();
  TcpProxy(const TcpProxy&) = delete;
  TcpProxy& operator=(const TcpProxy&) = delete;

  uint16_t port() const { return port_; }

  // The faults of the connections to come, in the order in which they come. Later ones have none.
  void plan(std::deque<ProxyFault> faults);
  // To all connections that there are, at once.
  void cut_all();
  void stall_all();
  // How fast each way of each connection goes; 0: as it can.
  void set_rate(uint64_t bytes_per_second);

  // Forwarded so far, of every connection there was, in the order in which they came.
  struct Count {
    uint64_t to_server = 0;
    uint64_t to_client = 0;
  };
  std::vector<Count> counts() const;
  size_t open_connections() const;

 private:
  struct Pipe {
    const Fd* from;
    const Fd* to;
    std::vector<char> waiting;
    uint64_t forwarded = 0;
    uint64_t budget = 0;  // bytes that the rate still allows
    bool from_ended = false;
    bool ended = false;
  };
  struct Connection {
    Fd client;
    Fd server;
    ProxyFault fault;
    Pipe to_server;
    Pipe to_client;
    bool stalled = false;
    bool over = false;
    size_t number = 0;
  };

  void run();
  void wait_for_traffic();
  void accept_one();
  void serve(Connection& connection);
  bool strikes(Connection& connection);
  void read_from(Connection& connection, Pipe& pipe);
  void write_to(Connection& connection, Pipe& pipe);
  void refill(TimePoint now);
  void wake();

  const uint16_t target_;
  Fd listener_;
  uint16_t port_ = 0;
  Fd wake_;

  mutable std::mutex mutex_;  // of all below
  std::list<Connection> connections_;
  std::deque<ProxyFault> faults_;
  std::vector<Count> counts_;
  uint64_t rate_ = 0;
  TimePoint refilled_{};
  bool closing_ = false;
  std::thread thread_;
};

}  // namespace tracewise
