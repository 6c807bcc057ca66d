// Plain TCP connections between two hosts, carried over the doors of their nodes: for libraries
// that speak no TLS, as the collectives of the learner's ranks. In plain text they are seen on
// loopback addresses alone.
//
//   somebody here -> 127.0.0.1:A == this node ==TLS==> door of the node of B -> 127.0.0.2:B
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <string>

#include "messages/result.hpp"
#include "transport/door.hpp"
#include "transport/tls.hpp"

namespace tracewise {

// Where carried connections end: what listens on this address wants to be reached through tunnels.
inline constexpr const char* kTunnelTarget = "127.0.0.2";

struct TunnelOptions {
  std::set<std::string> peers;  // nodes whose connections are carried to kTunnelTarget
  int connect_ms = 60'000;      // from forward() until somebody has connected; and to carry it on
  int max_connections = 256;    // carried at a time; more from peers are closed as they come
};

// A thread a connection. Any thread may call.
class Tunnel {
 public:
  // Serves Channel::kRanks at `door`, which outlives it.
  Tunnel(Door& door, const TlsContext& context, const Hello& own, const TunnelOptions& options);
  // Ends all connections.
  ~Tunnel();
  Tunnel(const Tunnel&) = delete;
  Tunnel& operator=(const Tunnel&) = delete;

  // A port of 127.0.0.1: the first connection to it is carried to `port` of kTunnelTarget on the
  // host of `node`, whose door is at `host` and `door_port`. If that node cannot be reached, the
  // connection is closed. kIo: no port is to be had.
  [[nodiscard]] Result<uint16_t> forward(const std::string& node, const std::string& host,
                                         uint16_t door_port, uint16_t port);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tracewise
