// The learner's end of weights over connections: answers the pulls (transport/chunk_wire.hpp) of
// all receivers.
#pragma once

#include <memory>

#include "transport/tls.hpp"
#include "transport/transport.hpp"

namespace tracewise {

struct WeightsServerOptions {
  // Event loops, one thread each; a connection stays with one. What they do is encrypt, so it is
  // their number that bounds how many cores the weights take from the learner, not the number of
  // receivers. A loop turns to its next connection after each MiB.
  int threads = 2;
  int max_connections = 1024;    // more are closed as they come; their receivers try again
  int idle_ms = 10000;           // a connection without a pull for as long is closed
  int max_transfer_ms = 600000;  // and one whose pull takes longer than its own deadline, or this
};

// Any thread may call. Memory: a few kB a connection; chunks go out of the version's own buffer.
// Receivers that are slow stop at their socket, hold nobody up, and keep at most the version on
// offer and the one before it alive.
class WeightsServer {
 public:
  // kResource: no thread or descriptor.
  [[nodiscard]] static Result<std::unique_ptr<WeightsServer>> start(
      const WeightsServerOptions& options);
  // Ends all connections.
  ~WeightsServer();
  WeightsServer(const WeightsServer&) = delete;
  WeightsServer& operator=(const WeightsServer&) = delete;

  // Serves a connection of Channel::kWeights whose hello is done. Never blocks.
  void take(std::unique_ptr<TlsStream> stream);

  // As WeightsSender::publish() and abort(). Never block.
  [[nodiscard]] Result<void> offer(WeightsBuffer weights);
  void abort(uint64_t epoch);

  uint64_t chunks_sent() const;  // answered pulls whose last byte was written

 private:
  class Impl;
  explicit WeightsServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace tracewise
