#include "actors/generator_actor.hpp"

#include <string>
#include <utility>

namespace tracewise {
namespace {

// How often an idle engine looks after its leases.
constexpr std::chrono::seconds kIdleTick{1};

// Rollouts travel together: a message for each would wake a tracer for each, and tracers decide on
// whole groups. Long against a step of a tiny model, short against one rollout of a large one.
constexpr std::chrono::milliseconds kGather{20};

// Engine steps in a row while no message waits.
constexpr int kStepsPerTick = 16;

// Outside, a lease carries the epoch of its engine, because an engine that replaces a dead one
// counts its leases from the start again, and requests for the old ones may still be on their way.
constexpr int kEpochShift = 48;
uint64_t outer_lease(uint64_t lease, uint64_t incarnation) {
  return lease == 0 ? 0 : lease | incarnation << kEpochShift;
}
uint64_t inner_lease(uint64_t lease) { return lease & ((uint64_t{1} << kEpochShift) - 1); }

std::string version_name(uint64_t version) { return "weights version " + std::to_string(version); }

}  // namespace

GeneratorShell::behavior_type GeneratorShell::make_behavior() {
  return {
      [this](start_atom, Peers& peers) { return start(std::move(peers)); },
      [this](Peers& peers) {
        seen();
        peers_ = std::move(peers);
      },
      [this](GroupTask& task) {
        seen();
        take(std::move(task));
        schedule();
      },
      [this](grant_atom, uint32_t tracer, uint32_t rollouts) {
        seen();
        lanes_.at(tracer).credit += rollouts;
        hand_on();
      },
      [this](std::vector<ProbeRequest>& requests) {
        seen();
        for (ProbeRequest& request : requests) probe(std::move(request));
        schedule();
      },
      [this](release_atom, const std::vector<uint64_t>& leases) {
        seen();
        release(leases);
      },
      [this](const WeightsReady& ready) { return take_weights(ready); },
      [this](tick_atom) {
        seen();
        ticking_ = idle_tick_ = false;
        for (int i = 0; i == 0 || (i < kStepsPerTick && busy() && mailbox().empty()); ++i) step();
        schedule();
      },
  };
}

void GeneratorShell::let_go() { engine_.reset(); }

Outcome GeneratorShell::start(Peers peers) {
  set_state("building its engine");
  peers_ = std::move(peers);
  incarnation_ = peers_.epoch;
  lanes_.resize(peers_.tracers.size());
  auto engine = setup_.make_engine(setup_.index);
  if (!engine.ok()) return to_outcome(engine.error());
  engine_ = std::move(engine).value();
  for (auto& lane : lanes_) lane.credit = setup_.options.window_rollouts;
  send(peers_.coordinator, grant_atom::value, setup_.index, setup_.options.window_samples);
  set_state("idle");
  return {};
}

void GeneratorShell::take(GroupTask task) {
  // Sampling a group with weights older than those of its issue would break the staleness bound.
  if (!version_ || *version_ < task.issue_version) {
    const auto limit = std::chrono::milliseconds(setup_.options.deadlines.weights_ms);
    entry().begin_wait(version_name(task.issue_version), "learner", now(), now() + limit);
    parked_.push_back(std::move(task));
    return;
  }
  submit(std::move(task));
}

void GeneratorShell::submit(GroupTask task) {
  groups_[task.key] = {task.samples, task.samples};
  open_samples_ += task.samples;
  engine_->submit(std::move(task));
}

caf::result<WeightsDelivered> GeneratorShell::take_weights(const WeightsReady& ready) {
  seen();
  const WeightsManifest& manifest = ready.manifest;
  const TimePoint begun = now();
  WeightsDelivered delivered{version_.value_or(0), manifest.epoch, setup_.index, 0};
  if (version_ && *version_ >= manifest.version) return delivered;
  const auto limit = std::chrono::milliseconds(setup_.options.deadlines.weights_ms);
  auto weights = setup_.transport->fetch(manifest, begun + limit);
  if (!weights.ok() && weights.error().error_class == ErrorClass::kCancelled) {
    return delivered;  // a newer version, or the same in a newer epoch, is announced already
  }
  Result<void> taken =
      weights.ok()
          ? engine_->set_weights(std::make_shared<const Weights>(weights->manifest, weights->bytes))
          : Result<void>(weights.error());
  if (!good(taken)) return caf::sec::runtime_error;
  version_ = manifest.version;
  delivered.version = manifest.version;
  delivered.seconds = std::chrono::duration<double>(now() - begun).count();
  entry().end_wait(version_name(manifest.version));
  send(peers_.coordinator, setup_.index, engine_->stats());
  for (GroupTask& task : std::exchange(parked_, {})) take(std::move(task));
  schedule();
  return delivered;
}

// A request for a lease of an engine before this one has nobody who waits for its answer: its group
// was given up with that engine.
void GeneratorShell::probe(ProbeRequest request) {
  if (request.lease >> kEpochShift != incarnation_) return;
  request.lease = inner_lease(request.lease);
  ++open_probes_;
  engine_->probe(std::move(request));
}

void GeneratorShell::release(const std::vector<uint64_t>& leases) {
  for (const uint64_t lease : leases) {
    if (lease >> kEpochShift == incarnation_) engine_->release(inner_lease(lease));
  }
}

void GeneratorShell::step() {
  set_state("in an engine step");
  EngineOutput output = engine_->step(now());
  set_state("between engine steps");
  const size_t tracers = peers_.tracers.size();
  open_samples_ -= output.rollouts.size();
  if (!output.rollouts.empty() && !gathering_) gathering_ = now();
  for (Rollout& rollout : output.rollouts) {
    rollout.lease = outer_lease(rollout.lease, incarnation_);
    lanes_[rollout.key.group % tracers].waiting.push_back(std::move(rollout));
  }
  open_probes_ -= output.probes.size();
  std::vector<std::vector<ProbeResult>> results(output.probes.empty() ? 0 : tracers);
  for (ProbeResult& result : output.probes) {
    result.lease = outer_lease(result.lease, incarnation_);
    results[result.key.group % tracers].push_back(std::move(result));
  }
  for (size_t t = 0; t < results.size(); ++t) {
    if (!results[t].empty()) send(peers_.tracers[t], std::move(results[t]));
  }
  if (gathering_ && (open_samples_ == 0 || now() - *gathering_ >= kGather)) hand_on();
}

// Sends tracers what their credit allows. A group all of whose rollouts have left frees its share
// of this generator's window.
void GeneratorShell::hand_on() {
  gathering_.reset();
  std::vector<GroupKey> handed;
  uint32_t samples = 0;
  for (size_t t = 0; t < lanes_.size(); ++t) {
    Lane& lane = lanes_[t];
    std::vector<Rollout> rollouts;
    for (; lane.credit > 0 && !lane.waiting.empty(); --lane.credit) {
      rollouts.push_back(std::move(lane.waiting.front()));
      lane.waiting.pop_front();
      const auto group = groups_.find(rollouts.back().key);
      if (group == groups_.end() || --group->second.left > 0) continue;
      handed.push_back(group->first);
      samples += group->second.samples;
      groups_.erase(group);
    }
    if (!rollouts.empty()) send(peers_.tracers[t], setup_.index, std::move(rollouts));
  }
  if (handed.empty()) return;
  send(peers_.coordinator, handed_atom::value, setup_.index, std::move(handed));
  send(peers_.coordinator, grant_atom::value, setup_.index, samples);
}

void GeneratorShell::schedule() {
  if (busy()) {
    if (!std::exchange(ticking_, true)) send(self(), tick_atom::value);
    return;
  }
  if (ticking_) return;
  set_state("idle");
  // Nobody decodes, but leases may expire.
  if (!idle_tick_ && engine_->stats().leased > 0) {
    idle_tick_ = true;
    delayed_send(self(), kIdleTick, tick_atom::value);
  }
}

}  // namespace tracewise
