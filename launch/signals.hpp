// SIGINT and SIGTERM as a stop token.
#pragma once

#include <stop_token>

namespace tracewise {

// Blocks the two signals in this thread and in those it starts from now on, and waits for them in a
// thread of its own: the first asks the token's source to stop, a second ends the process at once
// with code 130. Call it once, before any other thread exists.
std::stop_token stop_on_signals();

}  // namespace tracewise
