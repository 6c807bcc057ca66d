// The tracer's shell around rollout/tracer.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "actors/run_options.hpp"
#include "actors/shell.hpp"
#include "actors/work_threads.hpp"
#include "rollout/tracer.hpp"

namespace tracewise {

struct TracerSetup {
  uint32_t index = 0;
  std::function<Result<std::unique_ptr<Tracer>>()> make_tracer;
  RunOptions options;
};

class TracerShell final : public Shell<TracerActor> {
 public:
  TracerShell(caf::actor_config& config, ShellContext context, TracerSetup setup)
      : Shell(config, std::move(context)), setup_(std::move(setup)) {}

 protected:
  behavior_type make_behavior() override;
  void let_go() override;

 private:
  std::string verifier_name() const { return "verifier of " + own_name(); }
  using RolloutKey = std::pair<GroupKey, uint32_t>;  // and its sample
  struct Lane {                                      // to one builder
    uint32_t credit = 0;
    std::deque<TracedRollout> waiting;
  };

  Outcome start();
  void change_peers(Peers peers);
  void take(std::vector<Rollout> rollouts);
  void pass_on(std::vector<Tracer::Output> outputs);
  void hand_on();
  void expire();
  void schedule();
  void finish_work();

  TracerSetup setup_;
  std::unique_ptr<Tracer> tracer_;
  std::unique_ptr<WorkThreads<TracerOutput::Done>> threads_;  // where the tracer has such work
  uint64_t working_ = 0;                                      // pieces of it that are not done
  std::map<uint32_t, Lane> lanes_;                            // by builder
  TimePoint verdict_since_{};                                 // when the first of them began, or
                                                              // the last one was done
  struct Owed {
    TimePoint until;
    uint32_t generator;
  };
  std::map<RolloutKey, Owed> deadlines_;  // of the probes that are out
  bool ticking_ = false;
};

}  // namespace tracewise
