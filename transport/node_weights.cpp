#include "transport/node_weights.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <mutex>
#include <utility>

#include "transport/checksum.hpp"
#include "transport/chunk_wire.hpp"
#include "transport/segment.hpp"
#include "transport/segment_pool.hpp"

namespace tracewise {
namespace {

class NodeSender final : public WeightsSender {
 public:
  NodeSender(Door& door, const NodeSenderOptions& options, std::unique_ptr<WeightsServer> server,
             std::unique_ptr<NcclSender> nccl)
      : door_(door),
        options_(options),
        server_(std::move(server)),
        nccl_(std::move(nccl)),
        pool_(options.max_segments) {
    door_.serve(Channel::kWeights, [this](std::unique_ptr<TlsStream> stream, const Hello&) {
      server_->take(std::move(stream));
    });
    if (!nccl_) return;
    door_.serve(Channel::kNccl, [this](std::unique_ptr<TlsStream> stream, const Hello&) {
      nccl_->take(std::move(stream));
    });
  }
  ~NodeSender() override {
    door_.stop_serving(Channel::kWeights);
    if (nccl_) door_.stop_serving(Channel::kNccl);
  }

  std::shared_ptr<std::byte[]> allocate(uint64_t bytes) override {
    auto storage = options_.shm ? pool_.allocate(bytes) : nullptr;
    return storage ? storage : allocate_on_heap(bytes);
  }

  Result<WeightsPlace> publish(WeightsBuffer weights, TimePoint deadline) override {
    const std::lock_guard lock(mutex_);
    const bool shared = options_.shm && move_to_segment(weights);
    std::vector<uint64_t> chunks = chunk_checksums(weights);
    if (std::chrono::steady_clock::now() >= deadline) {
      return Error{ErrorClass::kDeadline, name_of(weights.manifest) + " was not offered in time"};
    }
    TW_TRY(server_->offer(weights));
    if (nccl_) nccl_->offer(weights);
    epoch_ = weights.manifest.epoch;
    WeightsPlace place;
    place.node = options_.node;
    place.host = options_.host;
    place.port = door_.port();
    place.host_id = own_host_id();
    place.chunk_bytes = options_.chunk_bytes;
    place.chunk_checksums = std::move(chunks);
    if (!shared) {
      pool_.withdraw();
      return place;
    }
    place.pid = ::getpid();
    place.fd = pool_.offer(weights);
    return place;
  }

  void abort(uint64_t epoch) override {
    server_->abort(epoch);
    if (nccl_) nccl_->abort(epoch);
    const std::lock_guard lock(mutex_);
    if (epoch_ <= epoch) pool_.withdraw();
  }

 private:
  // False: there is no segment to be had.
  bool move_to_segment(WeightsBuffer& weights) {
    if (pool_.can_offer(weights.bytes.get())) return true;
    const auto copy = pool_.allocate(weights.manifest.bytes);
    if (!copy) return false;
    std::memcpy(copy.get(), weights.bytes.get(), weights.manifest.bytes);
    weights.bytes = copy;
    return true;
  }

  // Of the chunks that are to be stated; none otherwise.
  std::vector<uint64_t> chunk_checksums(const WeightsBuffer& weights) const {
    const uint64_t bytes = weights.manifest.bytes, chunk_bytes = options_.chunk_bytes;
    std::vector<uint64_t> sums;
    if (chunk_bytes == 0) return sums;
    for (uint64_t chunk = 0; chunk < chunk_count(bytes, chunk_bytes); ++chunk) {
      sums.push_back(
          xxh3({weights.bytes.get() + chunk * chunk_bytes, chunk_size(bytes, chunk_bytes, chunk)}));
    }
    return sums;
  }

  Door& door_;
  const NodeSenderOptions options_;
  const std::unique_ptr<WeightsServer> server_;
  const std::unique_ptr<NcclSender> nccl_;  // may be null
  SegmentPool pool_;
  std::mutex mutex_;    // one publication at a time
  uint64_t epoch_ = 0;  // of what is offered
};

class NodeReceiver final : public WeightsReceiver {
 public:
  NodeReceiver(const TlsContext& context, const Hello& own, const NodeReceiverOptions& options)
      : options_(options), tcp_(make_tcp_receiver(context, own, options.tcp)) {}

  Result<FetchedWeights> fetch(const WeightsReady& wanted, TimePoint deadline) override {
    if (auto mapped = map(wanted, wanted.place)) return std::move(*mapped);
    for (const WeightsPlace& other : wanted.others) {
      if (auto mapped = map(wanted, other)) return std::move(*mapped);
    }
    if (auto received = take_broadcast(wanted, deadline)) {
      return FetchedWeights{{wanted.manifest, std::move(received->bytes)}, "nccl"};
    }
    if (aborted(wanted.manifest.epoch)) return aborted_error(wanted.manifest);
    const auto has_door = [](const WeightsPlace& place) { return place.port != 0; };
    if (!has_door(wanted.place) && !std::ranges::any_of(wanted.others, has_door)) {
      return unsupported(name_of(wanted.manifest) + " is offered nowhere that this node can reach");
    }
    return tcp_->fetch(wanted, deadline);
  }

  void abort(uint64_t epoch) override {
    {
      const std::lock_guard lock(mutex_);
      first_live_epoch_ = std::max(first_live_epoch_, epoch + 1);
    }
    tcp_->abort(epoch);
    if (options_.nccl) options_.nccl->wake();
  }

 private:
  // Nothing: there is no shared memory at `place` that can be opened from here.
  std::optional<Result<FetchedWeights>> map(const WeightsReady& wanted, const WeightsPlace& place) {
    const bool near = options_.shm && place.pid > 0 && !options_.host_id.empty() &&
                      place.host_id == options_.host_id;
    if (!near) return std::nullopt;
    if (aborted(wanted.manifest.epoch)) return aborted_error(wanted.manifest);
    auto mapped = segments_.map(wanted.manifest, place);
    if (aborted(wanted.manifest.epoch)) return aborted_error(wanted.manifest);
    if (mapped.ok()) return FetchedWeights{std::move(*mapped), "shm"};
    if (mapped.error().error_class == ErrorClass::kUnsupported) return std::nullopt;
    return mapped.error();
  }

  std::optional<WeightsBuffer> take_broadcast(const WeightsReady& wanted, TimePoint deadline) {
    const uint64_t epoch = wanted.manifest.epoch;
    if (!options_.nccl || wanted.place.port == 0 || aborted(epoch)) return std::nullopt;
    const TimePoint now = std::chrono::steady_clock::now();
    const TimePoint limit = deadline <= now ? deadline : now + (deadline - now) / 2;
    auto received = options_.nccl->wait(wanted, limit, [&] { return aborted(epoch); });
    return aborted(epoch) ? std::nullopt : std::move(received);
  }

  bool aborted(uint64_t epoch) {
    const std::lock_guard lock(mutex_);
    return epoch < first_live_epoch_;
  }

  const NodeReceiverOptions options_;
  const std::unique_ptr<WeightsReceiver> tcp_;
  SegmentReader segments_;
  std::mutex mutex_;
  uint64_t first_live_epoch_ = 0;
};

}  // namespace

Result<std::unique_ptr<WeightsSender>> make_node_sender(Door& door,
                                                        const NodeSenderOptions& options,
                                                        std::unique_ptr<NcclSender> nccl) {
  TW_ASSIGN(auto server, WeightsServer::start(options.server));
  return std::unique_ptr<WeightsSender>(
      std::make_unique<NodeSender>(door, options, std::move(server), std::move(nccl)));
}

std::unique_ptr<WeightsReceiver> make_node_receiver(const TlsContext& context, const Hello& own,
                                                    const NodeReceiverOptions& options) {
  return std::make_unique<NodeReceiver>(context, own, options);
}

}  // namespace tracewise
