// Of builds without CUDA.
#include "transport/nccl_api.hpp"

namespace tracewise {

Result<std::unique_ptr<Nccl>> open_nccl(const std::string&) {
  return unsupported("this build has no NCCL; the cuda preset makes one that has");
}

bool has_nccl() { return false; }

}  // namespace tracewise
