// The Python sources of the services, each with the host's behind it.
#pragma once

#include <string>

#include "rollout/python/python_process.hpp"

namespace tracewise {

std::string python_script(PythonService service);

}  // namespace tracewise
