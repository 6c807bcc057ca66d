#include "learner/all_reduce_check.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <memory>
#include <thread>
#include <utility>

#include "learner/memory_rank_store.hpp"
#include "learner/rank_group.hpp"

namespace tracewise {
namespace {

constexpr int64_t kElements = int64_t{1} << 20;

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
  const auto store = std::make_shared<MemoryRankStore>();  // shared by the ranks
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

}  // namespace tracewise
