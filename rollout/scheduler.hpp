// Decides what one packed pass of the engine computes: which sequences, how many tokens of each, in
// which cache blocks. No tensors here; the engine carries the plan out.
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "rollout/block_allocator.hpp"
#include "rollout/engine.hpp"

namespace tracewise {

struct GroupWork;  // a GroupTask in the engine (engine.cpp)
struct ProbeWork;  // a ProbeRequest in the engine (engine.cpp)

// Tokens that are being computed, with the cache blocks that hold them.
//
//   waiting --plan()--> running --all tokens cached--> the engine samples, forks or finishes it
//      ^                   |
//      +---- put back -----+  (out of blocks: its blocks go, its tokens stay and are recomputed)
//
// While starts are held, prompts of which nothing is computed stay in waiting.
struct Sequence {
  enum class Kind {
    kPrompt,        // a group's prompt; forked into its samples when cached
    kSample,        // a rollout
    kPrefix,        // a probe's rollout up to its last boundary; forked into the boundaries
    kScore,         // a probe's boundary, teacher-forced
    kProbePrompt,   // a probe's boundary; forked into its continuations when cached
    kContinuation,  // a sampled answer to a probe
  };
  Kind kind = Kind::kSample;
  uint64_t age = 0;             // order of arrival; the largest is the youngest
  std::vector<int32_t> tokens;  // everything known so far
  int64_t cached = 0;           // tokens whose keys and values lie in `blocks`
  std::vector<int32_t> blocks;  // block table
  int64_t prompt_tokens = 0;    // tokens that were given, not sampled
  uint32_t sample = 0;          // sample of the group, or boundary of the probe
  uint32_t continuation = 0;    // of the probe
  double seconds = 0;           // share of the engine's time
  bool running = false;         // kept by the scheduler
  std::vector<float> logprobs, policy_logprobs;
  std::vector<uint64_t> versions;
  std::shared_ptr<GroupWork> group;  // shared by the sequences of a group
  std::shared_ptr<ProbeWork> probe;  // shared by the sequences of a probe

  int64_t pending() const { return static_cast<int64_t>(tokens.size()) - cached; }
};

struct PassItem {
  Sequence* sequence = nullptr;
  int64_t tokens = 0;  // computed in this pass, from sequence->cached on
};

struct Pass {
  std::vector<PassItem> items;                      // decoding sequences first
  std::vector<std::pair<int32_t, int32_t>> copies;  // blocks to copy (from, to) before the pass
  std::vector<std::unique_ptr<Sequence>> failed;    // can never fit the cache
  int64_t tokens = 0;
};

// A finished rollout whose blocks are kept for its probes.
struct Lease {
  std::vector<int32_t>
      tokens;          // kept until release, so that an expired lease can be prefilled again
  int64_t cached = 0;  // 0 after expiry
  std::vector<int32_t> blocks;
  Clock::time_point expires;
};

class Scheduler {
 public:
  Scheduler(int64_t blocks, int64_t block_tokens, int64_t max_sequences, int64_t max_batch_tokens);

  // Takes a sequence in; its blocks, if it has some, come from fork().
  Sequence* add(std::unique_ptr<Sequence> sequence);

  // The first `tokens` tokens' blocks of `blocks`, with one more reference each.
  std::vector<int32_t> fork(const std::vector<int32_t>& blocks, int64_t tokens);

  // The next pass. Out of blocks: the oldest leases go first, then the youngest sequence.
  Pass plan();

  // Takes a sequence out and gives its blocks back.
  std::unique_ptr<Sequence> remove(Sequence* sequence);

  // Takes a finished sequence out; its blocks go into a lease. Returns the lease's id.
  uint64_t lease(Sequence* sequence, Clock::time_point expires);
  // A lease of tokens that are in no block; it stays until release().
  uint64_t adopt(std::vector<int32_t> tokens);
  Lease* find_lease(uint64_t id);
  void release(uint64_t id);
  void expire(Clock::time_point now);

  // While on, prompts of which no token is computed yet stay where they are. What is under way goes
  // on, so in the end nothing but they is left.
  void hold_starts(bool on);
  // Whether anything but held prompts is left: sequences, or leases that hold blocks.
  bool under_way() const;

  // Gives up what is in the cache: of prompts that are not whole, or of everything, leases too.
  // Sequences are computed again; returns how many tokens of them that are.
  int64_t forget_partial_prompts();
  int64_t forget_cache();

  // Takes all probes out; each is to be begun anew.
  std::vector<std::shared_ptr<ProbeWork>> take_probes();

  // Sequences of groups that have sampled a token and are to sample more.
  bool decoding() const;

  // The group's prompt and samples, without its probes.
  std::vector<Sequence*> sequences_of(GroupKey key);
  bool has_work() const { return !waiting_.empty() || !running_.empty(); }
  void fill(EngineStats& stats) const;

 private:
  bool held(const Sequence& sequence) const;
  void admit();
  bool reserve(Sequence& sequence, int64_t tokens, Pass& pass);
  int32_t allocate(const Sequence& wanting, Pass& pass);
  void put_back(Sequence* sequence, Pass& pass);
  int64_t forget(Sequence& sequence);
  void drop_blocks(std::vector<int32_t>& blocks);

  BlockAllocator allocator_;
  int64_t block_tokens_, max_sequences_, max_batch_tokens_;
  std::list<std::unique_ptr<Sequence>> waiting_, running_;  // by age
  std::map<uint64_t, Lease> leases_;                        // by id, so the oldest first
  uint64_t next_age_ = 0, next_lease_ = 1;
  uint64_t preemptions_ = 0, expired_leases_ = 0;
  bool holding_ = false;
};

}  // namespace tracewise
