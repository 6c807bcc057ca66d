// Where tensors live, by name, for those who do not see Torch.
#pragma once

#include <string>

#include "messages/result.hpp"

namespace tracewise {

// "cpu" or "cuda:N". kBadInput for another name; kUnsupported where no CUDA device is usable.
Result<void> check_device(const std::string& name);

// What Torch finds on this machine.
struct CudaFacts {
  bool build = false;  // linked with CUDA
  int devices = 0;     // that can be used
};
CudaFacts cuda_facts();

}  // namespace tracewise
