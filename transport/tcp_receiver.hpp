// Fetches weights from the doors of the learner's ranks over several connections at a time.
#pragma once

#include <memory>

#include "messages/records.hpp"
#include "transport/tls.hpp"
#include "transport/transport.hpp"

namespace tracewise {

struct TcpReceiverOptions {
  int connections = 2;  // a fetch's, one thread each while it runs
  // 1..kMaxChunkBytes. Small enough that a chunk is encrypted, decrypted and added up out of a
  // core's cache: 4 MiB cost a sixth of the speed on loopback.
  uint64_t chunk_bytes = uint64_t{1} << 20;
  int pulls_ahead = 4;    // asked for on a connection at a time, so that it never idles
  int attempts = 3;       // at a chunk that comes with a wrong checksum
  int connect_ms = 5000;  // for one attempt at a connection
  int stall_ms = 10000;   // a connection without a byte for as long is made anew
  // With several doors: what one still owes when the others have nothing more to give is asked of
  // them after this, and it is asked for nothing more.
  int slow_ms = 1000;
  int backoff_ms = 50;  // before the first new connection; doubles up to max_backoff_ms
  int max_backoff_ms = 2000;
};

// Asks the nodes of WeightsReady::place and others, as the node of `own` (its channel has no
// meaning here). A connection that breaks is made anew until the deadline, with the next of them,
// and only chunks that are still missing travel again. A node that refuses, gives other bytes than
// were announced or is slow is given up for the fetch, which fails when all are. Between fetches it
// has no connection and no thread; it keeps one buffer for the next version. kDeadline says how far
// it came and what was last in the way.
std::unique_ptr<WeightsReceiver> make_tcp_receiver(const TlsContext& context, const Hello& own,
                                                   const TcpReceiverOptions& options = {});

}  // namespace tracewise
