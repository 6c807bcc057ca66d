// NCCL without a GPU: ranks of one process that find each other by id, with NCCL's states, and with
// whatever can go wrong in it.
#pragma once

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "transport/nccl_api.hpp"

namespace tracewise {

// Happens at the `at`th time, counted from 1 and from its injection, that the rank on `gpu` makes
// `call`: "unique_id", "begin", "settled", "upload", "download", "broadcast", "mark" or "passed".
struct NcclFault {
  enum class Kind {
    kFail,   // with `result`, as ncclResult_t counts; "settled" tells of errors of the background
    kHang,   // "begin": the rank never comes; "broadcast": that one never ends, for nobody
    kSpoil,  // "broadcast": one byte of what comes to this rank is another
  };
  std::string gpu;
  std::string call;
  int at = 1;
  Kind kind = Kind::kFail;
  int result = 6;  // ncclRemoteError
};

// What the ranks share. Any thread may call. As over real links, a rank that aborts tells nobody:
// whoever waits for it hangs until it aborts too.
class FakeFabric {
 public:
  void inject(NcclFault fault);
  bool injected() const;  // whether a fault has still to happen

  // How often settled() and passed() of the rank on `gpu` say "not yet" before they look.
  void slow_down(const std::string& gpu, int looks);

  // What was called in a state in which NCCL forbids it or breaks.
  std::vector<std::string> violations() const;
  int open_comms() const;  // that were begun and not aborted
  int comms_begun() const;

  // NCCL on `gpu`; shares the ownership of the fabric.
  static std::unique_ptr<Nccl> open(std::shared_ptr<FakeFabric> fabric, std::string gpu);

 private:
  friend class FakeNccl;
  friend class FakeComm;

  // One broadcast of a communicator.
  struct Cast {
    uint64_t bytes = 0;
    int root = 0;
    int posted = 0;  // ranks that have
    bool hangs = false;
    std::vector<std::byte> data;  // of the root
  };
  struct Group {
    int ranks = 0;
    std::map<int, std::string> gpus;  // of the ranks that have come
    std::vector<Cast> casts;
  };

  // All of these under the mutex.
  std::optional<NcclFault> fault(const std::string& gpu, const std::string& call);
  void violation(std::string what) { violations_.push_back(std::move(what)); }
  int looks(const std::string& gpu) const;

  mutable std::mutex mutex_;
  std::vector<NcclFault> faults_;
  std::map<std::string, int> looks_;
  std::vector<std::string> violations_;
  std::map<NcclId, std::shared_ptr<Group>> groups_;  // shared with their communicators
  int ids_ = 0;
  int open_ = 0;
  int begun_ = 0;
};

}  // namespace tracewise
