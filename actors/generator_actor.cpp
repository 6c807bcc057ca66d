#include "actors/generator_actor.hpp"

#include <caf/send.hpp>
#include <string>
#include <utility>

#include "actors/parts.hpp"

namespace tracewise {
namespace {

// How often an engine that has nothing to compute looks after its leases.
constexpr std::chrono::milliseconds kIdleTick{200};

// Rollouts travel together: a message for each would wake a tracer for each, and tracers decide on
// whole groups. Long against a step of a tiny model, short against one rollout of a large one.
constexpr std::chrono::milliseconds kGather{20};

// Engine steps in a row while no message waits.
constexpr int kStepsPerTick = 16;

std::string version_name(uint64_t version) { return "weights version " + std::to_string(version); }

}  // namespace

GeneratorShell::behavior_type GeneratorShell::make_behavior() {
  return {
      [this](start_atom) { return start(); },
      [this](Peers& peers) {
        seen();
        change_peers(std::move(peers));
        return peers_.epoch;
      },
      [this](GroupTask& task) {
        seen();
        take(std::move(task));
        resume();
      },
      [this](abandon_atom, const std::vector<GroupKey>& keys) {
        seen();
        abandon(keys);
        resume();
      },
      [this](grant_atom, uint32_t tracer, uint32_t rollouts) {
        seen();
        const auto lane = lanes_.find(tracer);
        if (lane == lanes_.end()) return;
        lane->second.credit += rollouts;
        hand_on();
      },
      [this](std::vector<ProbeRequest>& requests) {
        seen();
        open_probes_ += requests.size();
        for (ProbeRequest& request : requests) engine_->probe(std::move(request));
        resume();
      },
      [this](release_atom, const std::vector<uint64_t>& leases) {
        seen();
        for (const uint64_t lease : leases) engine_->release(lease);
        resume();
      },
      [this](const WeightsAnnouncement& announced) { return want_weights(announced.ready()); },
      [this](fetched_atom) {
        seen();
        if (auto end = fetcher_->take()) take_weights(std::move(*end));
      },
      [this](tick_atom) {
        seen();
        ticking_ = false;
        int steps = 0;
        do {
          step();
        } while (++steps < kStepsPerTick && busy() && !stalled_ && mailbox().empty());
        schedule();
      },
      [this](wake_atom) {
        seen();
        waking_ = false;
        step();
        schedule();
      },
  };
}

void GeneratorShell::let_go() {
  fetcher_.reset();
  announced_.clear();
  engine_.reset();
}

Outcome GeneratorShell::start() {
  set_state("building its engine");
  auto engine = setup_.make_engine(setup_.index);
  if (!engine.ok()) return to_outcome(engine.error());
  engine_ = std::move(engine).value();
  // Actor and engine outlive the fetcher, see let_go().
  fetcher_ = std::make_unique<WeightsFetcher>(
      fetcher_name(), setup_.receiver,
      [engine = engine_.get()](const WeightsBuffer& buffer) {
        return engine->prepare(std::make_shared<const Weights>(buffer.manifest, buffer.bytes));
      },
      [self = self()] { caf::anon_send(self, fetched_atom::value); });
  set_state("idle");
  return {};
}

// What waits for a tracer that is gone has nobody left to go to.
void GeneratorShell::change_peers(Peers peers) {
  peers_ = std::move(peers);
  Handed handed;
  for (auto lane = lanes_.begin(); lane != lanes_.end();) {
    if (peers_.tracers.count(lane->first) > 0) {
      ++lane;
      continue;
    }
    for (const Rollout& rollout : lane->second.waiting) drop(rollout, handed);
    lane = lanes_.erase(lane);
  }
  for (const auto& [tracer, actor] : peers_.tracers) {
    lanes_.try_emplace(tracer, Lane{setup_.options.window_rollouts, {}});
  }
  report(std::move(handed));
}

// Attempts that were given up: unfinished ones are cancelled, and whatever is left of them is
// dropped as it comes.
void GeneratorShell::abandon(const std::vector<GroupKey>& keys) {
  Handed handed;
  for (const GroupKey& key : keys) {
    std::erase_if(parked_, [&](const GroupTask& task) {
      if (task.key != key) return false;
      handed.samples += task.samples;
      return true;
    });
    const auto group = groups_.find(key);
    if (group == groups_.end()) continue;
    group->second.abandoned = true;
    engine_->cancel(key);
    for (auto& [tracer, lane] : lanes_) {
      std::erase_if(lane.waiting, [&](const Rollout& rollout) {
        if (rollout.key != key) return false;
        drop(rollout, handed);
        return true;
      });
    }
  }
  report(std::move(handed));
}

void GeneratorShell::take(GroupTask task) {
  // Sampling a group with weights older than those of its issue would break the staleness bound.
  if (!version_ || *version_ < task.issue_version) {
    const auto limit = std::chrono::milliseconds(setup_.options.deadlines.weights_ms);
    if (announced_.empty() || announced_.back().manifest.version < task.issue_version)
      entry().begin_wait(version_name(task.issue_version), "learner", now(), now() + limit);
    parked_.push_back(std::move(task));
    return;
  }
  submit(std::move(task));
}

void GeneratorShell::submit(GroupTask task) {
  groups_[task.key] = {task.samples, task.samples, false};
  open_samples_ += task.samples;
  engine_->submit(std::move(task));
}

caf::result<WeightsDelivered> GeneratorShell::want_weights(WeightsReady ready) {
  seen();
  WeightsManifest& manifest = ready.manifest;
  if (manifest.tensors.empty()) {
    manifest.tensors = layout_;
  } else {
    layout_ = manifest.tensors;
  }
  if (version_ && *version_ >= manifest.version) {
    return WeightsDelivered{*version_, manifest.epoch, setup_.index, 0, "", {}};
  }
  const TimePoint until = now() + std::chrono::milliseconds(setup_.options.deadlines.weights_ms);
  announced_.push_back({manifest, now(), make_response_promise<WeightsDelivered>()});
  entry().begin_wait(version_name(manifest.version), fetcher_name(), now(), until);
  fetcher_->want(std::move(ready), until);
  return announced_.back().promise;
}

// Hands a version to the engine, and the groups that waited for it. False: it has failed.
bool GeneratorShell::use(const WeightsBuffer& buffer) {
  if (version_ && *version_ >= buffer.manifest.version) return true;  // of an older epoch
  if (!good(engine_->set_weights(std::make_shared<const Weights>(buffer.manifest, buffer.bytes))))
    return false;
  version_ = buffer.manifest.version;
  report_stats();
  for (GroupTask& task : std::exchange(parked_, {})) {
    entry().end_wait(version_name(task.issue_version));
    take(std::move(task));
  }
  return true;
}

// Answers every announcement up to the one that the fetch was for.
void GeneratorShell::take_weights(FetchEnd end) {
  std::string transport;
  std::vector<WeightsShare> shares;
  if (end.weights.ok()) {
    transport = end.weights->transport;
    shares = std::move(end.weights->shares);
    for (const std::string& warning : end.weights->warnings)
      services().log->warn(own_name() + ": " + warning);
    if (!use(end.weights->buffer)) return;
  } else if (end.weights.error().error_class != ErrorClass::kCancelled) {
    return fail(end.weights.error());
  }  // cancelled: a newer version, or the same in a newer epoch, is announced already
  while (!announced_.empty() && !is_newer(announced_.front().manifest, end.wanted)) {
    Announced& first = announced_.front();
    const double seconds = std::chrono::duration<double>(now() - first.since).count();
    first.promise.deliver(WeightsDelivered{version_.value_or(0), first.manifest.epoch, setup_.index,
                                           seconds, transport, std::exchange(shares, {})});
    entry().end_wait(version_name(first.manifest.version));
    announced_.erase(announced_.begin());
  }
  resume();
}

// The engine's counters, with those of the last swap whose pause has ended.
void GeneratorShell::report_stats() {
  const EngineStats stats = engine_->stats();
  swapping_ = stats.swaps == reported_swaps_;
  reported_swaps_ = stats.swaps;
  send(peers_.coordinator, setup_.index, stats);
}

void GeneratorShell::step() {
  set_state("in an engine step");
  EngineOutput output = engine_->step(now());
  set_state("between engine steps");
  stalled_ = output.idle;
  if (swapping_ && engine_->stats().swaps != reported_swaps_) report_stats();
  open_samples_ -= output.rollouts.size();
  open_probes_ -= output.probes.size();
  Handed dropped;
  for (Rollout& rollout : output.rollouts) {
    const auto lane = lanes_.find(rollout.route.tracer);
    if (lane == lanes_.end() || groups_.at(rollout.key).abandoned) {
      drop(rollout, dropped);
      continue;
    }
    if (!gathering_) gathering_ = now();
    lane->second.waiting.push_back(std::move(rollout));
  }
  report(std::move(dropped));
  std::map<uint32_t, std::vector<ProbeResult>> results;
  for (ProbeResult& result : output.probes) results[result.tracer].push_back(std::move(result));
  for (auto& [tracer, ready] : results) send_to(peers_.tracers, tracer, std::move(ready));
  if (gathering_ && (open_samples_ == 0 || now() - *gathering_ >= kGather)) hand_on();
}

// Sends tracers what their credit allows.
void GeneratorShell::hand_on() {
  gathering_.reset();
  Handed handed;
  for (auto& [tracer, lane] : lanes_) {
    std::vector<Rollout> rollouts;
    for (; lane.credit > 0 && !lane.waiting.empty(); --lane.credit) {
      rollouts.push_back(std::move(lane.waiting.front()));
      lane.waiting.pop_front();
      leave(rollouts.back().key, handed);
    }
    in_parts(
        std::move(rollouts),
        [](const Rollout& r) { return r.prompt.tokens.size() + r.tokens.size(); },
        [&, to = tracer](std::vector<Rollout> part) {
          send_to(peers_.tracers, to, setup_.index, std::move(part));
        });
  }
  report(std::move(handed));
}

// A group all of whose rollouts have left frees its share of this generator's window.
void GeneratorShell::leave(const GroupKey& key, Handed& handed) {
  const auto group = groups_.find(key);
  if (group == groups_.end() || --group->second.left > 0) return;
  if (!group->second.abandoned) handed.groups.push_back(key);
  handed.samples += group->second.samples;
  groups_.erase(group);
}

void GeneratorShell::drop(const Rollout& rollout, Handed& handed) {
  if (rollout.lease != 0) engine_->release(rollout.lease);
  leave(rollout.key, handed);
}

void GeneratorShell::report(Handed handed) {
  if (handed.samples == 0) return;
  send(peers_.coordinator, handed_atom::value, setup_.index, std::move(handed.groups),
       handed.samples);
}

// Something has happened that the engine may have waited for.
void GeneratorShell::resume() {
  stalled_ = false;
  schedule();
}

void GeneratorShell::schedule() {
  if (busy() && !stalled_) {
    if (!std::exchange(ticking_, true)) send(self(), tick_atom::value);
    return;
  }
  if (ticking_) return;
  set_state(busy() ? "waiting for the values of finished rollouts" : "idle");
  // Nobody decodes, but leases may expire, and a swap of weights may wait for that.
  if (!waking_ && (busy() || engine_->stats().leased > 0)) {
    waking_ = true;
    delayed_send(self(), kIdleTick, wake_atom::value);
  }
}

}  // namespace tracewise
