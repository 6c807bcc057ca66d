#include "transport/nccl_api.hpp"

namespace tracewise {

Error nccl_error(int result, const std::string& call) {
  const auto error = [&](ErrorClass error_class, const char* what) {
    return Error{error_class, call + " failed: " + what};
  };
  switch (result) {
    case 1:
      return error(ErrorClass::kInternal, "a CUDA call failed (ncclUnhandledCudaError)");
    case 2:
      return error(ErrorClass::kIo, "a system call or a connection failed (ncclSystemError)");
    case 4:
      return error(ErrorClass::kInternal, "an argument was refused (ncclInvalidArgument)");
    case 5:
      return error(ErrorClass::kUnsupported,
                   "these GPUs cannot be one communicator (ncclInvalidUsage)");
    case 6:
      return error(ErrorClass::kIo, "another rank ended or cannot be reached (ncclRemoteError)");
    default:
      return error(ErrorClass::kInternal, "NCCL failed inside (ncclInternalError)");
  }
}

}  // namespace tracewise
