// The generator's engine: paged KV cache, continuous batching, value probes on the live cache.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "messages/records.hpp"
#include "model/model_config.hpp"
#include "model/weights.hpp"

namespace tracewise {

using Clock = std::chrono::steady_clock;

class Tokenizer;

// What new weights mean for the rollouts under way.
enum class OnNewWeights : uint8_t {
  kKeepCache,       // they go on at once, on the keys and values that the old weights left
  kRecomputeCache,  // they go on once the new weights have computed their keys and values again
  kFinishFirst,     // they finish on the old weights; until then nothing new is started
};

struct EngineOptions {
  uint64_t seed = 0;            // of the run; see rollout/random.hpp
  int32_t block_tokens = 16;    // tokens of one KV block; a multiple of 16
  int64_t kv_blocks = 0;        // blocks of the cache; 0: as max_sequences full contexts need
  int32_t max_sequences = 512;  // sequences that decode side by side
  // Tokens of one packed pass (decode + prefill chunks + probe tails); 0: 512 on the CPU, else
  // 4096.
  int32_t max_batch_tokens = 0;
  int64_t lease_ms = 30000;    // how long a finished rollout keeps its blocks unasked
  int threads = 1;             // compute threads of one step
  std::string device = "cpu";  // "cpu" or "cuda:N"
  bool stream = false;         // whether step() hands out every token as it is sampled
  OnNewWeights on_new_weights = OnNewWeights::kKeepCache;
  std::vector<int32_t> stop_tokens;       // a sampled one ends the response and belongs to it
  std::vector<std::string> stop_strings;  // the token that completes one ends the response
};

// A token as it is sampled, for streaming.
struct TokenEvent {
  GroupKey key;
  uint32_t sample = 0;
  int32_t token = 0;
};

// What one step() brought.
struct EngineOutput {
  std::vector<Rollout> rollouts;  // finished, cancelled or failed; each holds its lease
  std::vector<ProbeResult> probes;
  std::vector<TokenEvent> tokens;  // sampled in this step, where streaming was asked for
  bool idle = false;               // nothing was there to compute; what is queued waits for a swap
};

// Counters since the engine was made, but for the last two blocks.
struct EngineStats {
  uint64_t sampled_tokens = 0;
  uint64_t prefilled_tokens = 0;
  uint64_t probe_tokens = 0;
  uint64_t preemptions = 0;  // sequences put back for want of blocks
  uint64_t expired_leases = 0;
  uint64_t steps = 0;
  double step_seconds = 0;         // time spent inside step()
  double probe_seconds = 0;        // the probes' share of it, by tokens
  uint64_t recomputed_tokens = 0;  // whose keys and values a swap made be computed again
  uint64_t swaps = 0;              // weights that were taken into use; counted when the pause ends

  // Of the last swap; 0 where no rollout was under way.
  double swap_wait_seconds = 0;   // from set_weights() to the swap: finish_first lets rollouts end
  double swap_pause_seconds = 0;  // from the last step before it to the next that decodes
  double longest_step_seconds = 0;  // of the steps between it and the swap before

  // Gauges.
  uint64_t waiting = 0;  // sequences not yet decoding
  uint64_t running = 0;
  uint64_t leased = 0;  // finished rollouts that still hold blocks
  int64_t free_blocks = 0;
  int64_t total_blocks = 0;
};

// Not thread-safe: one thread owns an engine and calls everything, also the constructor; prepare()
// alone is for any thread.
class Engine {
 public:
  virtual ~Engine() = default;

  // Queues `task.samples` rollouts. A prompt that cannot fit the context comes back from the next
  // step() as rollouts with FailureClass::kPromptTooLong. Never blocks.
  virtual void submit(GroupTask task) = 0;

  // Queues the probes of one rollout. An unknown lease comes back as a failed ProbeResult.
  virtual void probe(ProbeRequest request) = 0;

  // A lease for a prompt and response from elsewhere, ids of the model's vocabulary. It holds no
  // blocks, so its probes prefill, and it never expires.
  virtual uint64_t adopt(std::vector<int32_t> tokens) = 0;

  // Gives a lease's blocks back. Unknown or released leases are ignored (releases may cross
  // expiry).
  virtual void release(uint64_t lease) = 0;

  // Ends the group's unfinished rollouts; they come back with FinishReason::kCancelled.
  virtual void cancel(GroupKey key) = 0;

  // Takes `weights` into use as options.on_new_weights says: before the next step(), or (finish
  // first) before the one that finds no rollout, probe or lease with blocks left of those that were
  // under way, so at most one rollout and lease_ms later. Weights that wait are replaced by newer
  // ones. Rollouts that start afterwards are sampled with `weights` alone until others come.
  // Fails with kBadInput, keeping the old weights, if the layout differs from the model's.
  virtual Result<void> set_weights(WeightsPtr weights) = 0;

  // The costly part of set_weights(weights), for another thread to do while the owner's decodes:
  // on the CPU a swap to prepared weights takes no longer than naming them. The last that were
  // prepared are kept until they are set. On a GPU the copy to it is left to the swap. Fails as
  // set_weights() does.
  virtual Result<void> prepare(const WeightsPtr& weights) = 0;

  // One packed pass: a token for every running sequence, prefill chunks and probe tails for the
  // rest of the token budget. Returns at once when there is no work. `now` drives the leases.
  virtual EngineOutput step(Clock::time_point now) = 0;

  virtual EngineStats stats() const = 0;
};

// kBadInput names the first option out of its range.
Result<void> check_engine_options(const EngineOptions& options, bool has_tokenizer);

// An engine on LibTorch with the kernels of model/. `tokenizer` is needed for stop strings only and
// must outlive the engine. Fails with kUnsupported (device), kBadInput (options, weights).
Result<std::unique_ptr<Engine>> make_engine(const EngineOptions& options, const ModelConfig& model,
                                            WeightsPtr weights, const Tokenizer* tokenizer);

}  // namespace tracewise
