// An engine and a trainer without a model, for runs of the actors. What they give depends on
// weights, seed, group, sample and position alone, like the real ones; how long they take, and in
// which order rollouts finish, is drawn anew in every process.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "actors/run_options.hpp"
#include "actors/run_parts.hpp"

namespace tracewise {

uint64_t mix(uint64_t a, uint64_t b);

// What tests make fakes do, and what they saw. Shared by a test and the fakes of a run.
struct FakeWorld {
  int max_delay_us = 200;  // of an engine step or an update; 0: none

  // Called in the engine's thread before each step; may throw or block.
  std::function<void(uint32_t generator, uint64_t engine_steps)> before_step;
  // Called before a trainer's update; an error ends the run.
  std::function<Result<void>(uint64_t updates)> before_update;
  // Whether this attempt's rollouts fail.
  std::function<bool(const GroupTask&)> fails;

  // Whether this request is never answered.
  std::function<bool(const ProbeRequest&)> swallow_probes;

  std::atomic<uint64_t> groups_submitted{0};  // to all engines
  std::atomic<int64_t> leases{0};             // that engines hold
  std::atomic<uint64_t> engines_made{0};
  std::atomic<uint64_t> engines_alive{0};
  std::mutex mutex;
  std::vector<uint64_t> trained;    // group ids in the order of training
  uint64_t greatest_staleness = 0;  // learner's updates minus a trained token's version
};

// The weights after a run: what the trainers fold every group into.
uint64_t fake_state(const Weights& weights);

// Of the fakes' rollouts; lives as long as the process.
const Tokenizer* fake_tokenizer();

// Parts whose engines, tracer and trainer are fakes of `world`, which outlives them. `tokenizer` is
// that of the tracer.
RunParts fake_parts(FakeWorld* world, uint64_t seed);

// A gate that a fake can be stuck at.
class Gate {
 public:
  void wait() {
    std::unique_lock lock(mutex_);
    reached_ = true;
    changed_.notify_all();
    changed_.wait(lock, [this] { return open_; });
  }
  void wait_reached() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return reached_; });
  }
  void open() {
    const std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = false;
  bool reached_ = false;
};

}  // namespace tracewise
