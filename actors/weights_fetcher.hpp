// Fetches weights in a thread of its own, so that a generator decodes on meanwhile.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

#include "messages/records.hpp"
#include "messages/result.hpp"
#include "messages/waits.hpp"
#include "transport/transport.hpp"

namespace tracewise {

// How the fetches since the last take() ended.
struct FetchEnd {
  WeightsManifest wanted;          // by the last of them
  Result<FetchedWeights> weights;  // the newest that came, or why none did
};

// One thread owns it. Holds what came last and one fetch that runs: memory for two versions.
class WeightsFetcher {
 public:
  using TimePoint = WeightsReceiver::TimePoint;

  // Makes what came ready for use; its failure is the fetch's.
  using Prepare = std::function<Result<void>(const WeightsBuffer&)>;

  // Both are called in the fetcher's thread: `prepare` with whatever came, `on_end` whenever take()
  // has something new. `on_end` neither blocks nor throws.
  // The thread and what waits for it know it as `name`.
  WeightsFetcher(std::string name, std::shared_ptr<WeightsReceiver> receiver, Prepare prepare,
                 std::function<void()> on_end);

  // Ends the fetch that runs, by aborting the receiver's epochs, and waits for that.
  ~WeightsFetcher();
  WeightsFetcher(const WeightsFetcher&) = delete;
  WeightsFetcher& operator=(const WeightsFetcher&) = delete;

  // Fetches `wanted` by `deadline`, after the fetch that runs; one that has not begun makes room.
  void want(WeightsReady wanted, TimePoint deadline);

  // What has ended since the last call, if anything has.
  std::optional<FetchEnd> take();

 private:
  void run();
  [[nodiscard]] Result<FetchedWeights> fetch(const WeightsReady& wanted, TimePoint deadline);

  const std::string name_;
  const std::shared_ptr<WeightsReceiver> receiver_;  // shared with the node, which aborts it
  const Prepare prepare_;
  const std::function<void()> on_end_;
  std::mutex mutex_;  // of all below but the thread
  Condition changed_;
  std::optional<std::pair<WeightsReady, TimePoint>> next_;
  std::optional<FetchEnd> end_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace tracewise
