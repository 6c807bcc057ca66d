#include "tests/transport/fake_nccl.hpp"

#include <algorithm>
#include <array>
#include <cstring>

namespace tracewise {

using Kind = NcclFault::Kind;

void FakeFabric::inject(NcclFault fault) {
  const std::lock_guard lock(mutex_);
  faults_.push_back(std::move(fault));
}

bool FakeFabric::injected() const {
  const std::lock_guard lock(mutex_);
  return !faults_.empty();
}

void FakeFabric::slow_down(const std::string& gpu, int looks) {
  const std::lock_guard lock(mutex_);
  looks_[gpu] = looks;
}

std::vector<std::string> FakeFabric::violations() const {
  const std::lock_guard lock(mutex_);
  return violations_;
}

int FakeFabric::open_comms() const {
  const std::lock_guard lock(mutex_);
  return open_;
}

int FakeFabric::comms_begun() const {
  const std::lock_guard lock(mutex_);
  return begun_;
}

std::optional<NcclFault> FakeFabric::fault(const std::string& gpu, const std::string& call) {
  for (auto fault = faults_.begin(); fault != faults_.end(); ++fault) {
    if (fault->gpu != gpu || fault->call != call || --fault->at > 0) continue;
    const NcclFault found = *fault;
    faults_.erase(fault);
    return found;
  }
  return std::nullopt;
}

int FakeFabric::looks(const std::string& gpu) const {
  const auto slow = looks_.find(gpu);
  return slow == looks_.end() ? 0 : slow->second;
}

class FakeComm final : public NcclComm {
 public:
  FakeComm(std::shared_ptr<FakeFabric> fabric, std::shared_ptr<FakeFabric::Group> group,
           std::string gpu, int rank, uint64_t slot_bytes, bool absent)
      : fabric_(std::move(fabric)),
        group_(std::move(group)),
        gpu_(std::move(gpu)),
        rank_(rank),
        absent_(absent),
        looks_left_(fabric_->looks(gpu_)) {
    for (Slot& slot : slots_) slot.memory.resize(slot_bytes);
    ++fabric_->open_;
    ++fabric_->begun_;
  }
  ~FakeComm() override { FakeComm::abort(); }

  Result<bool> settled() override {
    const std::lock_guard lock(fabric_->mutex_);
    TW_TRY(may("settled"));
    if (absent_ || looks_left_-- > 0) return false;
    looks_left_ = 0;
    if (static_cast<int>(group_->gpus.size()) < group_->ranks) return false;
    for (const auto& [rank, gpu] : group_->gpus) {
      if (rank != rank_ && gpu == gpu_) return lost(5, "ncclCommInitRankConfig");
    }
    settled_ = true;
    return true;
  }

  Result<void> upload(int slot, std::span<const std::byte> bytes) override {
    const std::lock_guard lock(fabric_->mutex_);
    TW_TRY(may("upload"));
    Slot& to = at(slot, bytes.size(), "upload");
    std::copy(bytes.begin(), bytes.end(), to.memory.begin());
    return {};
  }

  Result<void> download(int slot, std::span<std::byte> bytes) override {
    const std::lock_guard lock(fabric_->mutex_);
    TW_TRY(may("download"));
    const Slot& from = at(slot, bytes.size(), "download");
    std::copy_n(from.memory.begin(), bytes.size(), bytes.begin());
    return {};
  }

  Result<void> broadcast(int slot, uint64_t bytes, int root) override {
    const std::lock_guard lock(fabric_->mutex_);
    if (!settled_) fabric_->violation(gpu_ + ": broadcast before the one before it was settled");
    const auto fault = fabric_->fault(gpu_, "broadcast");
    TW_TRY(usable("broadcast"));
    if (fault && fault->kind == Kind::kFail) return lost(fault->result, "ncclBroadcast");
    Slot& used = at(slot, bytes, "broadcast");
    used.cast = posted_++;
    used.marked = false;
    used.spoilt = fault && fault->kind == Kind::kSpoil;
    used.looks_left = fabric_->looks(gpu_);
    settled_ = false;
    looks_left_ = fabric_->looks(gpu_);
    if (group_->casts.size() <= *used.cast) group_->casts.resize(*used.cast + 1);
    FakeFabric::Cast& cast = group_->casts[*used.cast];
    if (cast.posted++ == 0) {
      cast.bytes = bytes;
      cast.root = root;
    } else if (cast.bytes != bytes || cast.root != root) {
      fabric_->violation(gpu_ + ": another broadcast than the other ranks'");
    }
    if (fault && fault->kind == Kind::kHang) cast.hangs = true;
    if (rank_ == root) cast.data.assign(used.memory.begin(), used.memory.begin() + bytes);
    return {};
  }

  Result<void> mark(int slot) override {
    const std::lock_guard lock(fabric_->mutex_);
    TW_TRY(may("mark"));
    if (!settled_) fabric_->violation(gpu_ + ": mark before its broadcast was settled");
    slots_[slot].marked = true;
    return {};
  }

  Result<bool> passed(int slot) override {
    const std::lock_guard lock(fabric_->mutex_);
    TW_TRY(may("passed"));
    Slot& used = slots_[slot];
    if (!used.cast || !used.marked) {
      fabric_->violation(gpu_ + ": passed of a broadcast that was not marked");
      return true;
    }
    const FakeFabric::Cast& cast = group_->casts[*used.cast];
    if (used.looks_left-- > 0) return false;
    used.looks_left = 0;
    if (cast.hangs || cast.posted < group_->ranks) return false;
    std::copy(cast.data.begin(), cast.data.end(), used.memory.begin());
    if (used.spoilt) used.memory[0] ^= std::byte{1};
    used.cast.reset();
    return true;
  }

  void abort() override {
    const std::lock_guard lock(fabric_->mutex_);
    if (std::exchange(aborted_, true)) return;
    --fabric_->open_;
  }

 private:
  struct Slot {
    std::vector<std::byte> memory;
    std::optional<size_t> cast;  // that uses it
    bool marked = false;
    bool spoilt = false;
    int looks_left = 0;
  };

  // Counts the call, and fails if it is to fail.
  Result<void> may(const char* call) {
    TW_TRY(usable(call));
    const auto fault = fabric_->fault(gpu_, call);
    return fault ? lost(fault->result, call) : Result<void>();
  }

  Result<void> usable(const char* call) {
    if (aborted_) fabric_->violation(gpu_ + ": " + call + " after abort");
    if (failed_) fabric_->violation(gpu_ + ": " + call + " after an error");
    return aborted_ || failed_ ? Result<void>(nccl_error(4, call)) : Result<void>();
  }

  Error lost(int result, const char* call) {
    failed_ = true;
    return nccl_error(result, call);
  }

  Slot& at(int slot, uint64_t bytes, const char* call) {
    Slot& used = slots_[slot];
    if (used.cast) fabric_->violation(gpu_ + ": " + call + " of a slot that a broadcast uses");
    if (bytes > used.memory.size()) {
      fabric_->violation(gpu_ + ": " + call + " of more than a slot has");
    }
    return used;
  }

  const std::shared_ptr<FakeFabric> fabric_;
  const std::shared_ptr<FakeFabric::Group> group_;
  const std::string gpu_;
  const int rank_;
  const bool absent_;  // this rank never comes
  int looks_left_;
  bool settled_ = false;
  bool aborted_ = false;
  bool failed_ = false;
  size_t posted_ = 0;
  std::array<Slot, kNcclSlots> slots_;
};

class FakeNccl final : public Nccl {
 public:
  FakeNccl(std::shared_ptr<FakeFabric> fabric, std::string gpu)
      : fabric_(std::move(fabric)), gpu_(std::move(gpu)) {}

  std::string gpu() const override { return gpu_; }

  Result<NcclId> unique_id() override {
    const std::lock_guard lock(fabric_->mutex_);
    if (const auto fault = fabric_->fault(gpu_, "unique_id")) {
      return nccl_error(fault->result, "ncclGetUniqueId");
    }
    NcclId id{};
    const int number = ++fabric_->ids_;
    std::memcpy(id.data(), &number, sizeof number);
    return id;
  }

  Result<std::unique_ptr<NcclComm>> begin(const NcclId& id, int ranks, int rank,
                                          uint64_t slot_bytes) override {
    const std::lock_guard lock(fabric_->mutex_);
    const auto fault = fabric_->fault(gpu_, "begin");
    if (fault && fault->kind == Kind::kFail) {
      return nccl_error(fault->result, "ncclCommInitRankConfig");
    }
    auto& group = fabric_->groups_[id];
    if (!group) group = std::make_shared<FakeFabric::Group>();
    if (group->ranks != 0 && group->ranks != ranks) {
      fabric_->violation(gpu_ + ": another number of ranks than the others");
    }
    group->ranks = ranks;
    if (!fault && !group->gpus.emplace(rank, gpu_).second) {
      fabric_->violation(gpu_ + ": rank " + std::to_string(rank) + " is there already");
    }
    return std::unique_ptr<NcclComm>(
        std::make_unique<FakeComm>(fabric_, group, gpu_, rank, slot_bytes, fault.has_value()));
  }

 private:
  const std::shared_ptr<FakeFabric> fabric_;
  const std::string gpu_;
};

std::unique_ptr<Nccl> FakeFabric::open(std::shared_ptr<FakeFabric> fabric, std::string gpu) {
  return std::make_unique<FakeNccl>(std::move(fabric), std::move(gpu));
}

}  // namespace tracewise
