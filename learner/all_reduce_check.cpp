#include "learner/all_reduce_check.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include "learner/rank_group.hpp"

#ifdef TRACEWISE_CUDA
#include <nccl.h>
#endif

namespace tracewise {
namespace {

constexpr int64_t kElements = int64_t{1} << 20;

class SharedStore final : public RankStore {
 public:
  Result<void> set(const std::string& key, const std::string& value) override {
    const std::lock_guard lock(mutex_);
    values_[key] = value;
    changed_.notify_all();
    return {};
  }
  Result<std::string> get(const std::string& key, TimePoint deadline) override {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_until(lock, deadline, [&] { return values_.contains(key); }))
      return Error{ErrorClass::kDeadline, "nobody set " + key};
    return values_[key];
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, std::string> values_;
};

Result<AllReduceCheck> run_rank(const RankGroupOptions& options,
                                const std::shared_ptr<RankStore>& store) {
  TW_ASSIGN(const auto group, RankGroup::connect(options, store));
  const auto begun = std::chrono::steady_clock::now();
  at::Tensor ones =
      at::ones({kElements}, at::TensorOptions().dtype(at::kFloat).device(options.device));  // [n]
  TW_TRY(group->all_reduce_sum(ones, "doctor").wait());
  const bool right = ones.eq(static_cast<double>(options.size)).all().item<bool>();
  if (!right) {
    return Error{ErrorClass::kInternal, "rank " + std::to_string(options.rank) + " on " +
                                            options.device + " got a wrong sum"};
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begun;
  return AllReduceCheck{kElements * 4, took.count()};
}

// A library's exception is caught here: Torch throws where a device is not what it seems.
Result<AllReduceCheck> caught(const RankGroupOptions& options,
                              const std::shared_ptr<RankStore>& store) {
  try {
    return run_rank(options, store);
  } catch (const std::exception& failure) {
    return Error{ErrorClass::kInternal, options.device + ": " + failure.what()};
  }
}

}  // namespace

Result<AllReduceCheck> check_all_reduce(const std::vector<std::string>& devices, int64_t limit_ms) {
  TW_CHECK(devices.size() >= 2, "a sum over one rank shows nothing");
  const auto store = std::make_shared<SharedStore>();  // shared by the ranks
  std::vector<Result<AllReduceCheck>> results(devices.size(), AllReduceCheck{});
  {
    std::vector<std::jthread> ranks;
    for (size_t i = 0; i < devices.size(); ++i) {
      RankGroupOptions options;
      options.rank = static_cast<int>(i);
      options.size = static_cast<int>(devices.size());
      options.device = devices[i];
      options.connect_ms = options.collective_ms = limit_ms;
      ranks.emplace_back([&results, i, options, store] { results[i] = caught(options, store); });
    }
  }
  AllReduceCheck slowest;
  for (const auto& result : results) {
    if (!result.ok()) return result.error();
    slowest.bytes = result->bytes;
    slowest.seconds = std::max(slowest.seconds, result->seconds);
  }
  return slowest;
}

std::string nccl_version() {
#ifdef TRACEWISE_CUDA
  int version = 0;
  if (ncclGetVersion(&version) != ncclSuccess) return "unknown";
  return std::to_string(version / 10000) + "." + std::to_string(version / 100 % 100) + "." +
         std::to_string(version % 100);
#else
  return {};
#endif
}

}  // namespace tracewise
