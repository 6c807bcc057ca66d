// Which build of the program runs.
#pragma once

#include <string>

namespace tracewise {

// The running binary's GNU build id, in lower-case hex digits, read from the binary's own notes;
// two binaries are the same build if it is equal. Empty if the linker wrote none. Any thread may
// call.
std::string build_id();

}  // namespace tracewise
