// A request and its answer over an authenticated stream, as text: what an operator asks the head.
// Each goes as 4 bytes of length (little-endian) and its bytes; after the answer the connection
// ends.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "messages/result.hpp"
#include "transport/tls.hpp"

namespace tracewise {

struct RequestServerOptions {
  int request_ms = 5000;    // for a request to come, and for its answer to be taken
  size_t max_waiting = 16;  // connections behind the one that is served; more are closed
};

// Answers one connection after the other in a thread of its own. Any thread may call.
class RequestServer {
 public:
  // Called in the server's thread, with the node that the other side's certificate names. It ends
  // within a deadline of its own: the destructor waits for it.
  using Answer = std::function<std::string(const std::string& request, const std::string& peer)>;

  // kResource: no thread or descriptor.
  [[nodiscard]] static Result<std::unique_ptr<RequestServer>> start(
      Answer answer, const RequestServerOptions& options = {});
  // Ends all connections.
  ~RequestServer();
  RequestServer(const RequestServer&) = delete;
  RequestServer& operator=(const RequestServer&) = delete;

  // Serves a connection whose hello is done. Never blocks.
  void take(std::unique_ptr<TlsStream> stream);

 private:
  class Impl;
  explicit RequestServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// The other side: sends `request` over a stream whose hello is done and waits for the answer.
// kDeadline, kIo: the connection ended; kCorrupt: an answer of more than 16 MiB.
[[nodiscard]] Result<std::string> ask(TlsStream& stream, const std::string& request,
                                      TimePoint deadline);

}  // namespace tracewise
