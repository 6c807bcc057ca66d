// The name of a run among the runs of a network.
#pragma once

#include <string>

namespace tracewise {

// 16 hex digits of the run authority's certificate: as long as the authority is the same, so is the
// run, and no two runs have one.
std::string run_id(const std::string& authority_pem);

}  // namespace tracewise
