// NCCL and CUDA themselves, in builds with TRACEWISE_CUDA.
#include <cuda_runtime_api.h>
#include <nccl.h>

#include <charconv>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <thread>

#include "messages/waits.hpp"
#include "transport/nccl_api.hpp"

namespace tracewise {
namespace {

static_assert(sizeof(ncclUniqueId) == std::tuple_size_v<NcclId>);
// What nccl_error() knows them by.
static_assert(ncclUnhandledCudaError == 1 && ncclSystemError == 2 && ncclInternalError == 3 &&
              ncclInvalidArgument == 4 && ncclInvalidUsage == 5 && ncclRemoteError == 6);

// For the device to end what an abort has told it to end; it takes microseconds.
constexpr std::chrono::seconds kDrainLimit{5};

Result<void> cuda(cudaError_t result, const char* call) {
  if (result == cudaSuccess) return {};
  const ErrorClass error_class =
      result == cudaErrorMemoryAllocation ? ErrorClass::kResource : ErrorClass::kInternal;
  return Error{error_class, std::string(call) + " failed: " + cudaGetErrorString(result)};
}

Result<void> nccl(ncclResult_t result, const char* call) {
  if (result == ncclSuccess || result == ncclInProgress) return {};
  Error error = nccl_error(result, call);
  const char* last = ncclGetLastError(nullptr);
  if (last != nullptr && *last != 0) error.message += std::string(": ") + last;
  return error;
}

class CudaComm final : public NcclComm {
 public:
  explicit CudaComm(int device) : device_(device) {}
  CudaComm(const CudaComm&) = delete;
  CudaComm& operator=(const CudaComm&) = delete;

  ~CudaComm() override {
    CudaComm::abort();
    if (::cudaSetDevice(device_) != cudaSuccess) return;
    // Memory that the device may still write to is never given back.
    if (drained()) {
      for (void* slot : slots_) ::cudaFree(slot);
    }
    for (cudaEvent_t event : events_) {
      if (event != nullptr) ::cudaEventDestroy(event);
    }
    for (cudaStream_t stream : {stream_, copies_}) {
      if (stream != nullptr) ::cudaStreamDestroy(stream);
    }
  }

  Result<void> open(const NcclId& id, int ranks, int rank, uint64_t slot_bytes) {
    TW_TRY(cuda(::cudaSetDevice(device_), "cudaSetDevice"));
    TW_TRY(cuda(::cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreate"));
    TW_TRY(cuda(::cudaStreamCreateWithFlags(&copies_, cudaStreamNonBlocking), "cudaStreamCreate"));
    for (int i = 0; i < kNcclSlots; ++i) {
      TW_TRY(cuda(::cudaMalloc(&slots_[i], slot_bytes), "cudaMalloc"));
      TW_TRY(
          cuda(::cudaEventCreateWithFlags(&events_[i], cudaEventDisableTiming), "cudaEventCreate"));
    }
    ncclUniqueId unique;
    std::memcpy(&unique, id.data(), sizeof unique);
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    return nccl(::ncclCommInitRankConfig(&comm_, ranks, unique, rank, &config),
                "ncclCommInitRankConfig");
  }

  Result<bool> settled() override {
    ncclResult_t state = ncclInProgress;
    TW_TRY(nccl(::ncclCommGetAsyncError(comm_, &state), "ncclCommGetAsyncError"));
    TW_TRY(nccl(state, "an operation of NCCL"));
    return state == ncclSuccess;
  }

  Result<void> upload(int slot, std::span<const std::byte> bytes) override {
    return copy(slots_[slot], bytes.data(), bytes.size(), cudaMemcpyHostToDevice);
  }
  Result<void> download(int slot, std::span<std::byte> bytes) override {
    return copy(bytes.data(), slots_[slot], bytes.size(), cudaMemcpyDeviceToHost);
  }

  Result<void> broadcast(int slot, uint64_t bytes, int root) override {
    TW_TRY(cuda(::cudaSetDevice(device_), "cudaSetDevice"));
    void* const at = slots_[slot];
    return nccl(::ncclBroadcast(at, at, bytes, ncclUint8, root, comm_, stream_), "ncclBroadcast");
  }

  Result<void> mark(int slot) override {
    TW_TRY(cuda(::cudaSetDevice(device_), "cudaSetDevice"));
    return cuda(::cudaEventRecord(events_[slot], stream_), "cudaEventRecord");
  }

  Result<bool> passed(int slot) override {
    const cudaError_t state = ::cudaEventQuery(events_[slot]);
    if (state == cudaErrorNotReady) return false;
    TW_TRY(cuda(state, "cudaEventQuery"));
    return true;
  }

  void abort() override {
    if (comm_ == nullptr) return;
    // What it says is of no use to anybody: the communicator is given up either way.
    if (::cudaSetDevice(device_) == cudaSuccess) ::ncclCommAbort(comm_);
    comm_ = nullptr;
  }

 private:
  Result<void> copy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
    TW_TRY(cuda(::cudaSetDevice(device_), "cudaSetDevice"));
    TW_TRY(cuda(::cudaMemcpyAsync(to, from, bytes, kind, copies_), "cudaMemcpyAsync"));
    return cuda(::cudaStreamSynchronize(copies_), "cudaStreamSynchronize");
  }

  bool drained() {
    const auto limit = std::chrono::steady_clock::now() + kDrainLimit;
    const Wait whole("the end of what was aborted", "the GPU", limit);
    while (stream_ != nullptr && ::cudaStreamQuery(stream_) == cudaErrorNotReady) {
      if (std::chrono::steady_clock::now() > limit) return false;
      const auto next = std::chrono::steady_clock::now() + std::chrono::milliseconds(1);
      Wait("another look", "the GPU", next).sleep();
    }
    return true;
  }

  const int device_;
  ncclComm_t comm_ = nullptr;
  cudaStream_t stream_ = nullptr;  // of broadcasts
  cudaStream_t copies_ = nullptr;
  void* slots_[kNcclSlots] = {};
  cudaEvent_t events_[kNcclSlots] = {};
};

class CudaNccl final : public Nccl {
 public:
  CudaNccl(int device, std::string gpu) : device_(device), gpu_(std::move(gpu)) {}

  std::string gpu() const override { return gpu_; }

  Result<NcclId> unique_id() override {
    TW_TRY(cuda(::cudaSetDevice(device_), "cudaSetDevice"));
    ncclUniqueId unique;
    TW_TRY(nccl(::ncclGetUniqueId(&unique), "ncclGetUniqueId"));
    NcclId id;
    std::memcpy(id.data(), &unique, sizeof unique);
    return id;
  }

  Result<std::unique_ptr<NcclComm>> begin(const NcclId& id, int ranks, int rank,
                                          uint64_t slot_bytes) override {
    auto comm = std::make_unique<CudaComm>(device_);
    TW_TRY(comm->open(id, ranks, rank, slot_bytes));
    return std::unique_ptr<NcclComm>(std::move(comm));
  }

 private:
  const int device_;
  const std::string gpu_;
};

// As NCCL tells hosts apart when it looks for a GPU that is there twice.
std::string host() {
  if (const char* set = std::getenv("NCCL_HOSTID")) return set;
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string boot;
  std::getline(file, boot);
  return boot;
}

}  // namespace

Result<std::unique_ptr<Nccl>> open_nccl(const std::string& device) {
  constexpr std::string_view kPrefix = "cuda:";
  int number = -1;
  const char* const end = device.data() + device.size();
  if (!device.starts_with(kPrefix) ||
      std::from_chars(device.data() + kPrefix.size(), end, number).ptr != end || number < 0) {
    return bad_input("NCCL needs a device cuda:N, not '" + device + "'");
  }
  char bus[32] = {};
  const auto found =
      cuda(::cudaDeviceGetPCIBusId(bus, sizeof bus, number), "cudaDeviceGetPCIBusId");
  if (!found.ok()) return unsupported("NCCL cannot use " + device + ": " + found.error().message);
  return std::unique_ptr<Nccl>(std::make_unique<CudaNccl>(number, host() + "/" + bus));
}

bool has_nccl() { return true; }

std::string nccl_version() {
  int version = 0;
  if (ncclGetVersion(&version) != ncclSuccess) return "unknown";
  return std::to_string(version / 10000) + "." + std::to_string(version / 100 % 100) + "." +
         std::to_string(version % 100);
}

}  // namespace tracewise
