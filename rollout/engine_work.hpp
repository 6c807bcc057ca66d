// What the engine owes: groups of rollouts and probes, each shared by the sequences that work on
// it.
#pragma once

#include <cstdint>

#include "messages/records.hpp"
#include "rollout/scheduler.hpp"

namespace tracewise {

struct GroupWork {
  GroupTask task;
};

struct ProbeWork {
  ProbeRequest request;
  ProbeResult result;      // filled as boundaries finish
  int64_t unfinished = 0;  // sequences still at work
};

// How a sequence's next token is drawn.
inline const SamplingParams& sampling_of(const Sequence& s) {
  return s.group ? s.group->task.sampling : s.probe->request.sampling;
}

// Index of the first target token in a kScore sequence, whose tokens are prefix + probe + target.
inline int64_t first_target(const ProbeRequest& request, int64_t boundary) {
  return request.prefix_ends[boundary] + static_cast<int64_t>(request.probe_tokens.size());
}

// kNone, or why the request cannot be answered for a rollout of `tokens` tokens.
Failure check_probe(const ProbeRequest& request, int64_t tokens, int64_t max_context);

// One sequence a boundary, forked from the lease. Where that lacks the tokens that several of them
// share, one kPrefix sequence instead; once it is cached, call again with it in the lease's place.
std::vector<std::unique_ptr<Sequence>> probe_sequences(const std::shared_ptr<ProbeWork>& work,
                                                       const Lease& lease, Scheduler& scheduler);

// The record of a rollout that has come to its end; without a lease.
Rollout finished_rollout(Sequence& sequence, FinishReason reason);

// A rollout of `task` that never started.
Rollout failed_rollout(const GroupTask& task, uint32_t sample, Failure failure);

// Whether the sequence's last token completes one of the stop strings in its response. `tokenizer`
// may be null where there are none.
bool completes_stop_string(const Sequence& sequence, const std::vector<std::string>& stop_strings,
                           const Tokenizer* tokenizer);

}  // namespace tracewise
