// From rollouts to traced rollouts: verdict, steps, and the values of the states between them.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "messages/records.hpp"
#include "messages/result.hpp"
#include "rollout/rewards/shaping.hpp"
#include "rollout/step_splitter.hpp"
#include "rollout/values.hpp"
#include "rollout/verifier.hpp"

namespace tracewise {

struct TracerOptions {
  StepOptions steps;
  VerifierOptions verifier;
  std::vector<RewardTerm> reward_terms;  // what shapes the rewards of training
  ProbeOptions probe;
  int64_t max_context = 0;  // of the model that is probed, tokens; 0: no limit
  // Whether a group will be trained on, told its rollouts that have not failed, with steps and
  // rewards but no values yet. Groups that will not are never probed. The learner's own rule
  // belongs here, so that both sides decide alike. Empty: every group is probed.
  std::function<bool(std::span<const TracedRollout>)> worth_probing;
};

// Where a tracer stands.
struct TracerSizes {
  size_t open_groups = 0;       // with rollouts waiting for others or for values
  size_t waiting_rollouts = 0;  // verified, waiting for the rest of their group
  size_t probing_rollouts = 0;  // waiting for their values
};

class Tracer;

// What a tracer gives out when something has changed.
struct TracerOutput {
  // Work that waits for others, such as a verdict of another process. `run` may be called in any
  // thread, once; what it returns is to be applied to the tracer, in the thread that owns it.
  using Done = std::function<TracerOutput(Tracer&)>;
  struct Work {
    GroupKey key;
    uint32_t sample = 0;
    std::function<Done()> run;
  };

  std::vector<std::pair<uint32_t, ProbeRequest>> probes;  // to the generator with this number
  std::vector<TracedRollout> traced;                      // finished
  std::vector<std::pair<uint32_t, uint64_t>> releases;    // generator, lease: no longer needed
  std::vector<Work> work;                                 // only where limits().wait()
};

// All rollouts of a group come to the same tracer. A rollout whose values are wanted waits until
// its whole group has arrived, because the group's rewards decide whether it is probed; without
// probing, and for Purpose::kEval, it goes on at once. One thread owns a tracer. Nothing blocks:
// verdicts that have to be waited for are work for other threads.
class Tracer {
 public:
  using Output = TracerOutput;

  // The tokenizer must outlive the tracer. kBadInput if the vocabulary cannot spell the probe text;
  // errors of make_verifier().
  static Result<std::unique_ptr<Tracer>> make(TracerOptions options, const Tokenizer& tokenizer);

  // Of the pieces of Output::work.
  CallLimits limits() const;
  // Ends the work that runs, and all later work, with failures. Any thread.
  void abort();

  // A sample that is there already is ignored but for its lease. A rollout that comes with a
  // failure keeps it and counts as arrived.
  Output on_rollout(Rollout rollout);

  // The rollout leaves with its values, or with a failure if the result has one or does not fit. A
  // result that nobody waits for is ignored.
  Output on_probe_result(ProbeResult result);

  // The rollout leaves with this failure (kProbe where it names no class).
  Output on_probe_failed(GroupKey key, uint32_t sample, Failure failure);

  // Forgets a group attempt that somebody has given up; only releases come out.
  Output drop(GroupKey key);

  TracerSizes sizes() const;

 private:
  struct Waiting {
    TracedRollout traced;
    bool probing = false;
  };
  struct Group {
    std::map<uint32_t, Waiting>
        rollouts;                // by sample, with their verdicts; those that left are gone
    std::set<uint32_t> arrived;  // samples, those that left included
    size_t verified = 0;         // of them
  };

  Tracer(TracerOptions options, const Tokenizer& tokenizer, std::unique_ptr<Verifier> verifier,
         Shaping shaping)
      : options_(std::move(options)),
        tokenizer_(&tokenizer),
        verifier_(std::move(verifier)),
        shaping_(std::move(shaping)) {}

  bool waits_for_group(const Rollout& rollout) const;
  TracedRollout verified(Rollout rollout) const;
  void settle(TracedRollout traced, Output& out);
  Output on_values(const GroupKey& key, uint32_t sample, ValueProbe::Values values);
  void decide(const GroupKey& key, Group& group, Output& out);
  void request_probe(Waiting& waiting, Output& out);
  void leave(const GroupKey& key, uint32_t sample, Output& out);
  Waiting* find_probing(const GroupKey& key, uint32_t sample);

  TracerOptions options_;
  const Tokenizer* tokenizer_;
  std::unique_ptr<Verifier> verifier_;
  Shaping shaping_;
  std::unique_ptr<ValueProbe> probe_;
  std::map<GroupKey, Group> groups_;
};

// Steps, verdict and shaping of a response, without values: what a tracer makes of a rollout on
// arrival, and all that a completion of another program's needs before its values are asked for. A
// rollout for evaluation is not shaped.
TracedRollout trace_response(Rollout rollout, const StepOptions& steps, const Verifier& verifier,
                             const Shaping& shaping, const Tokenizer& tokenizer);

}  // namespace tracewise
