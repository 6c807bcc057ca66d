// A port that is kept for a process while that process starts, ends and starts again: nobody gets
// it by asking for any port, and no connection leaves from it.
#pragma once

#include <cstdint>
#include <string>

#include "messages/result.hpp"
#include "transport/socket.hpp"

namespace tracewise {

struct HeldPort {
  Fd fd;  // held as long as it is open
  uint16_t port = 0;
};

// Binds `port` (0: any) of `address`, a number, without listening, so that the process that it is
// for can listen on it. kIo: it is in use.
[[nodiscard]] Result<HeldPort> hold_port(const std::string& address, uint16_t port);

}  // namespace tracewise
