// Host names to addresses, within a deadline.
#pragma once

#include <stop_token>
#include <string>
#include <vector>

#include "messages/result.hpp"
#include "transport/socket.hpp"

namespace tracewise {

// All TCP addresses of `host`, a name or a number, with `port`. Blocks until the resolver answers,
// `deadline` (kDeadline) or a stop request (kCancelled). kBadInput: it doesn't resolve. Any thread.
[[nodiscard]] Result<std::vector<SocketAddress>> resolve(const std::string& host, uint16_t port,
                                                         TimePoint deadline, std::stop_token stop);

}  // namespace tracewise
