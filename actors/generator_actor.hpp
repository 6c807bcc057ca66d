// The generator's shell around an engine.
#pragma once

#include <caf/typed_response_promise.hpp>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "actors/run_options.hpp"
#include "actors/shell.hpp"
#include "actors/weights_fetcher.hpp"
#include "rollout/engine.hpp"
#include "transport/transport.hpp"

namespace tracewise {

struct GeneratorSetup {
  uint32_t index = 0;
  std::function<Result<std::unique_ptr<Engine>>(uint32_t)> make_engine;
  std::shared_ptr<WeightsReceiver> receiver;  // its own; shared with nobody
  RunOptions options;
};

// Runs in a thread of its own, which is also the engine's. Between two decode steps it looks at its
// mailbox, so a message waits one step at most; without work it sleeps. Weights are fetched in
// another thread meanwhile, so they cost it no more than their swap.
class GeneratorShell final : public Shell<GeneratorActor> {
 public:
  GeneratorShell(caf::actor_config& config, ShellContext context, GeneratorSetup setup)
      : Shell(config, std::move(context)), setup_(std::move(setup)) {}

 protected:
  behavior_type make_behavior() override;
  void let_go() override;

 private:
  std::string fetcher_name() const { return "weights fetcher of " + own_name(); }
  struct Lane {  // to one tracer
    uint32_t credit = 0;
    std::deque<Rollout> waiting;
  };
  struct OpenGroup {
    uint32_t samples = 0;
    uint32_t left = 0;  // rollouts not yet handed on
    bool abandoned = false;
  };
  // Groups all of whose rollouts have left, and the samples that this frees of the window.
  struct Handed {
    std::vector<GroupKey> groups;
    uint32_t samples = 0;
  };

  // A version that the learner has announced and waits to hear of.
  struct Announced {
    WeightsManifest manifest;
    TimePoint since;
    caf::typed_response_promise<WeightsDelivered> promise;
  };

  Outcome start();
  void change_peers(Peers peers);
  void abandon(const std::vector<GroupKey>& keys);
  void leave(const GroupKey& key, Handed& handed);
  void drop(const Rollout& rollout, Handed& handed);
  void report(Handed handed);
  void take(GroupTask task);
  void submit(GroupTask task);
  caf::result<WeightsDelivered> want_weights(WeightsReady ready);
  void take_weights(FetchEnd end);
  bool use(const WeightsBuffer& buffer);
  void report_stats();
  void step();
  void hand_on();
  void resume();
  void schedule();
  bool busy() const { return open_samples_ + open_probes_ > 0; }

  GeneratorSetup setup_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<WeightsFetcher> fetcher_;
  std::vector<TensorEntry> layout_;   // of every version, from the first announcement
  std::vector<Announced> announced_;  // ascending
  std::optional<uint64_t> version_;   // of the weights that rollouts which start are sampled with
  std::vector<GroupTask> parked_;     // wait for newer weights
  std::map<GroupKey, OpenGroup> groups_;
  std::map<uint32_t, Lane> lanes_;  // by tracer
  uint64_t open_samples_ = 0;       // in the engine
  uint64_t open_probes_ = 0;
  std::optional<TimePoint> gathering_;  // since when rollouts wait to travel together
  bool ticking_ = false;
  bool waking_ = false;
  bool stalled_ = false;  // the engine has work, all of which waits for others
  uint64_t reported_swaps_ = 0;
  bool swapping_ = false;  // the engine's last swap is still to be reported
};

}  // namespace tracewise
