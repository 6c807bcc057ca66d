// The parts of the scale benchmark's run (bench/scale.cpp): everything that computes is a stub,
// everything that talks is the product. An engine's groups take the time that a generator's rate
// gives them and cost next to nothing, a trainer takes its batch at once.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <mutex>
#include <vector>

#include "actors/cluster.hpp"
#include "actors/run_options.hpp"
#include "actors/run_parts.hpp"

namespace tracewise::bench {

// What the stubs do.
struct ScaleLoad {
  uint32_t generators = 1000;     // in all
  uint32_t nodes = 4;             // processes that they are in
  double groups_per_second = 10;  // of each generator
  uint32_t group_size = 8;        // rollouts
  size_t prompt_tokens = 16;
  size_t response_tokens = 30;
  uint64_t groups_per_batch = 10'000;  // a version a second at the full rate

  double asked() const { return generators * groups_per_second; }  // groups/s in all
};

// A prompt that came to a generator, after `seconds`: from the end of the engine step that brought
// the last rollout of the generator's group, when its credit becomes free, until the engine is
// given its next group. Generators have room for one group, so each waits for its prompts.
struct IssueLatency {
  std::chrono::steady_clock::time_point arrived;  // the machine's one monotonic clock
  double seconds = 0;
};

// What the engines of a process saw. Any thread may call.
class LatencyBook {
 public:
  void add(std::vector<IssueLatency> some);
  std::vector<IssueLatency> all() const;

 private:
  mutable std::mutex mutex_;
  std::vector<IssueLatency> all_;
};

RunOptions scale_options(const ScaleLoad& load);

// `latencies`: of engines, outlives them. `on_batch`: called in the learner's thread with the
// number of groups of each batch.
RunParts scale_parts(const ScaleLoad& load, LatencyBook* latencies,
                     std::function<void(uint64_t groups)> on_batch);

NodeSetup scale_node(Identity identity);

}  // namespace tracewise::bench
