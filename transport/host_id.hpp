// Who shares memory with whom.
#pragma once

#include <string>

namespace tracewise {

// The same for two processes if one can open the other's descriptors: the same boot of the same
// machine, the same process ids, the same user. Empty: unknown, so equal to nobody's.
std::string own_host_id();

}  // namespace tracewise
