// Where tensors live, by name, for those who do not see Torch.
#pragma once

#include <string>

#include "messages/result.hpp"

namespace tracewise {

// "cpu" or "cuda:N". kBadInput for another name; kUnsupported where no CUDA device is usable.
Result<void> check_device(const std::string& name);

}  // namespace tracewise
