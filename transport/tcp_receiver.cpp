#include "transport/tcp_receiver.hpp"

#include <algorithm>
#include <mutex>

#include "transport/spare_buffer.hpp"
#include "transport/transfer.hpp"

namespace tracewise {
namespace {

class TcpReceiver final : public WeightsReceiver {
 public:
  TcpReceiver(const TlsContext& context, const Hello& own, const TcpReceiverOptions& options)
      : context_(context), own_(own), options_(options) {}

  Result<FetchedWeights> fetch(const WeightsReady& wanted, TimePoint deadline) override {
    const WeightsManifest& manifest = wanted.manifest;
    auto buffer = spare_.take(manifest.bytes);
    if (!buffer) {
      return Error{ErrorClass::kResource, "no memory for " + name_of(manifest) + " of " +
                                              std::to_string(manifest.bytes) + " bytes"};
    }
    const std::span bytes(buffer.get(), manifest.bytes);
    Transfer transfer(context_, own_, options_, wanted, bytes, deadline);
    if (!begin(transfer, manifest.epoch)) return aborted_error(manifest);
    Result<void> run = transfer.run();
    if (!end(manifest.epoch)) return aborted_error(manifest);
    TW_TRY(std::move(run));
    return FetchedWeights{
        {manifest, std::move(buffer)}, "tcp", transfer.shares(), transfer.warnings()};
  }

  void abort(uint64_t epoch) override {
    const std::lock_guard lock(mutex_);
    first_live_epoch_ = std::max(first_live_epoch_, epoch + 1);
    if (running_ != nullptr && running_epoch_ <= epoch) running_->stop();
  }

 private:
  // Lets abort() know of a fetch; false: its epoch was aborted.
  bool begin(Transfer& transfer, uint64_t epoch) {
    const std::lock_guard lock(mutex_);
    TW_CHECK(running_ == nullptr, "a receiver makes one fetch at a time");
    if (epoch < first_live_epoch_) return false;
    running_ = &transfer;
    running_epoch_ = epoch;
    return true;
  }
  bool end(uint64_t epoch) {
    const std::lock_guard lock(mutex_);
    running_ = nullptr;
    return epoch >= first_live_epoch_;
  }

  const TlsContext context_;
  const Hello own_;
  const TcpReceiverOptions options_;
  SpareBuffer spare_;
  std::mutex mutex_;
  Transfer* running_ = nullptr;  // the caller of fetch() has it
  uint64_t running_epoch_ = 0;
  uint64_t first_live_epoch_ = 0;
};

}  // namespace

std::unique_ptr<WeightsReceiver> make_tcp_receiver(const TlsContext& context, const Hello& own,
                                                   const TcpReceiverOptions& options) {
  TW_CHECK(options.connections > 0 && options.pulls_ahead > 0 && options.attempts > 0 &&
               options.chunk_bytes > 0 && options.chunk_bytes <= kMaxChunkBytes &&
               options.connect_ms > 0 && options.stall_ms > 0 && options.slow_ms > 0 &&
               options.backoff_ms > 0,
           "a receiver has a connection, a chunk and time for them");
  return std::make_unique<TcpReceiver>(context, own, options);
}

}  // namespace tracewise
