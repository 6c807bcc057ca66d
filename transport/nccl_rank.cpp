#include "transport/nccl_rank.hpp"

#include <utility>

#include "transport/chunk_wire.hpp"

namespace tracewise {
namespace {

int slot_of(uint64_t bucket) { return static_cast<int>(bucket % kNcclSlots); }

}  // namespace

Result<std::unique_ptr<NcclRank>> NcclRank::begin(Nccl& nccl, const NcclId& id, int ranks, int rank,
                                                  uint64_t bucket_bytes) {
  TW_CHECK(rank >= 0 && rank < ranks && bucket_bytes > 0, "a rank is one of its communicator");
  TW_ASSIGN(auto comm, nccl.begin(id, ranks, rank, bucket_bytes));
  return std::unique_ptr<NcclRank>(new NcclRank(std::move(comm), bucket_bytes));
}

NcclRank::NcclRank(std::unique_ptr<NcclComm> comm, uint64_t bucket_bytes)
    : comm_(std::move(comm)), bucket_bytes_(bucket_bytes) {}

NcclRank::~NcclRank() {
  if (!over_) comm_->abort();
}

void NcclRank::send(std::span<const std::byte> bytes) {
  source_ = bytes;
  sink_ = {};
  cast(bytes.size());
}

void NcclRank::receive(std::span<std::byte> bytes) {
  source_ = {};
  sink_ = bytes;
  cast(bytes.size());
}

void NcclRank::cast(uint64_t bytes) {
  TW_CHECK(!over_ && passed_ == buckets_, "a rank makes one broadcast at a time");
  bytes_ = bytes;
  buckets_ = chunk_count(bytes, bucket_bytes_);
  posted_ = marked_ = passed_ = 0;
  sum_.emplace();
}

uint64_t NcclRank::bucket_size(uint64_t bucket) const {
  return chunk_size(bytes_, bucket_bytes_, bucket);
}

Result<NcclStep> NcclRank::step() {
  TW_CHECK(!over_, "a rank that failed is used no more");
  auto done = advance();
  if (!done.ok()) {
    over_ = true;
    comm_->abort();
  }
  return done;
}

Result<NcclStep> NcclRank::advance() {
  // NCCL takes nothing more until what it was handed is set up: a call too early would be the
  // communicator's end.
  TW_ASSIGN(const bool settled, comm_->settled());
  if (!settled) return NcclStep::kWaiting;
  if (marked_ < posted_) {
    TW_TRY(comm_->mark(slot_of(marked_)));
    ++marked_;
    return NcclStep::kMoved;
  }
  // First the next bucket on its way, then the copy of the one that has come.
  if (posted_ < buckets_ && posted_ - passed_ < kNcclSlots) {
    TW_TRY(post());
    return NcclStep::kMoved;
  }
  if (passed_ == buckets_) return NcclStep::kIdle;
  TW_ASSIGN(const bool passed, comm_->passed(slot_of(passed_)));
  if (!passed) return NcclStep::kWaiting;
  TW_TRY(take());
  return NcclStep::kMoved;
}

Result<void> NcclRank::post() {
  const int slot = slot_of(posted_);
  const uint64_t size = bucket_size(posted_);
  if (!source_.empty()) {
    TW_TRY(comm_->upload(slot, source_.subspan(posted_ * bucket_bytes_, size)));
  }
  TW_TRY(comm_->broadcast(slot, size, 0));
  ++posted_;
  return {};
}

Result<void> NcclRank::take() {
  const uint64_t size = bucket_size(passed_);
  if (!sink_.empty()) {
    const std::span to = sink_.subspan(passed_ * bucket_bytes_, size);
    TW_TRY(comm_->download(slot_of(passed_), to));
    sum_->add(to);
  }
  ++passed_;
  return {};
}

}  // namespace tracewise
