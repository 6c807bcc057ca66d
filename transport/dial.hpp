// Connecting to another node's door.
#pragma once

#include <cstdint>
#include <memory>
#include <stop_token>
#include <string>

#include "messages/records.hpp"
#include "messages/result.hpp"
#include "transport/tls.hpp"

namespace tracewise {

// A stream to the node whose door is at `host`, a name or a number, and `port`: connected,
// verified, and accepted for hello.channel. `expected_node`: whom its certificate must name; empty:
// any node of the run. Blocks the calling thread, any, until `deadline` or a stop request.
//
// Errors name the place. kDeadline says which part hung: resolving, connecting, TLS or the hello.
// kIo: nobody listens there or serves the channel now, or the connection broke. kBadInput: the host
// doesn't resolve, it isn't the node or of the run, or it refused our hello; kUnsupported: it
// refused because its build or protocol is another. Refusals carry the other node's reason.
// kCancelled: a stop was requested.
[[nodiscard]] Result<std::unique_ptr<TlsStream>> dial(const std::string& host, uint16_t port,
                                                      const TlsContext& context, const Hello& hello,
                                                      const std::string& expected_node,
                                                      TimePoint deadline,
                                                      std::stop_token stop = {});

}  // namespace tracewise
