#include "actors/tracer_actor.hpp"

#include <algorithm>
#include <caf/send.hpp>
#include <string>

#include "actors/parts.hpp"

namespace tracewise {
namespace {

size_t tokens_of(const TracedRollout& t) {
  return t.rollout.prompt.tokens.size() + t.rollout.tokens.size();
}

}  // namespace

TracerShell::behavior_type TracerShell::make_behavior() {
  return {
      [this](start_atom) { return start(); },
      [this](Peers& peers) {
        seen();
        change_peers(std::move(peers));
        return peers_.epoch;
      },
      [this](uint32_t generator, std::vector<Rollout>& rollouts) {
        seen();
        const auto count = static_cast<uint32_t>(rollouts.size());
        take(std::move(rollouts));
        send_to(peers_.generators, generator, grant_atom::value, setup_.index, count);
      },
      [this](std::vector<ProbeResult>& results) {
        seen();
        std::vector<Tracer::Output> outputs;
        for (ProbeResult& result : results) {
          deadlines_.erase({result.key, result.sample});
          outputs.push_back(tracer_->on_probe_result(std::move(result)));
        }
        pass_on(std::move(outputs));
      },
      [this](grant_atom, uint32_t builder, uint32_t rollouts) {
        seen();
        const auto lane = lanes_.find(builder);
        if (lane == lanes_.end()) return;
        lane->second.credit += rollouts;
        hand_on();
      },
      [this](abandon_atom, const std::vector<GroupKey>& keys) {
        seen();
        std::vector<Tracer::Output> outputs;
        for (const GroupKey& key : keys) {
          outputs.push_back(tracer_->drop(key));
          std::erase_if(deadlines_, [&](const auto& entry) { return entry.first.first == key; });
        }
        pass_on(std::move(outputs));
      },
      [this](tick_atom) {
        seen();
        ticking_ = false;
        expire();
        schedule();
      },
      [this](wake_atom) {
        seen();
        finish_work();
      },
  };
}

Outcome TracerShell::start() {
  auto tracer = setup_.make_tracer();
  if (!tracer.ok()) return to_outcome(tracer.error());
  tracer_ = std::move(tracer).value();
  if (const uint32_t threads = tracer_->limits().calls; threads > 0) {
    threads_ = std::make_unique<WorkThreads<TracerOutput::Done>>(
        verifier_name(), threads, [self = self()] { caf::anon_send(self, wake_atom::value); });
  }
  set_state("idle");
  return {};
}

void TracerShell::let_go() {
  if (tracer_) tracer_->abort();
  threads_.reset();
  tracer_.reset();
}

// Verdicts that other threads waited for.
void TracerShell::finish_work() {
  std::vector<Tracer::Output> outputs;
  for (const auto& done : threads_->take()) {
    outputs.push_back(done(*tracer_));
    --working_;
  }
  if (outputs.empty()) return;
  entry().end_wait("verdicts");
  verdict_since_ = now();
  pass_on(std::move(outputs));
}

// What waits for a builder that is gone has nobody left to go to.
void TracerShell::change_peers(Peers peers) {
  peers_ = std::move(peers);
  std::erase_if(lanes_, [this](const auto& lane) { return !peers_.builders.count(lane.first); });
  for (const auto& [builder, actor] : peers_.builders) {
    lanes_.try_emplace(builder, Lane{setup_.options.window_rollouts, {}});
  }
}

void TracerShell::take(std::vector<Rollout> rollouts) {
  std::vector<Tracer::Output> outputs;
  for (Rollout& rollout : rollouts) outputs.push_back(tracer_->on_rollout(std::move(rollout)));
  pass_on(std::move(outputs));
}

// Sends what the tracer gave out: one message for each receiver, whatever the number of rollouts.
void TracerShell::pass_on(std::vector<Tracer::Output> outputs) {
  std::map<uint32_t, std::vector<ProbeRequest>> probes;  // by generator
  std::map<uint32_t, std::vector<uint64_t>> releases;
  std::vector<TracedRollout> measured;
  const auto limit = std::chrono::milliseconds(setup_.options.deadlines.probe_ms);
  const TimePoint until = now() + limit;
  for (Tracer::Output& output : outputs) {
    for (auto& [generator, probe] : output.probes) {
      deadlines_[{probe.key, probe.sample}] = {until, generator};
      probes[generator].push_back(std::move(probe));
    }
    if (working_ == 0 && !output.work.empty()) verdict_since_ = now();
    for (auto& work : output.work) {
      threads_->add(std::move(work.run));
      ++working_;
    }
    for (const auto& [generator, lease] : output.releases) releases[generator].push_back(lease);
    for (TracedRollout& traced : output.traced) {
      if (traced.rollout.purpose == Purpose::kEval) {
        measured.push_back(std::move(traced));
      } else if (auto lane = lanes_.find(traced.rollout.route.builder); lane != lanes_.end()) {
        lane->second.waiting.push_back(std::move(traced));
      }
    }
  }
  for (auto& [generator, requests] : probes) {
    send_to(peers_.generators, generator, std::move(requests));
  }
  for (auto& [generator, leases] : releases) {
    send_to(peers_.generators, generator, release_atom::value, std::move(leases));
  }
  in_parts(std::move(measured), tokens_of,
           [this](std::vector<TracedRollout> part) { send(peers_.coordinator, std::move(part)); });
  hand_on();
  schedule();
}

void TracerShell::hand_on() {
  for (auto& [builder, lane] : lanes_) {
    std::vector<TracedRollout> traced;
    for (; lane.credit > 0 && !lane.waiting.empty(); --lane.credit) {
      traced.push_back(std::move(lane.waiting.front()));
      lane.waiting.pop_front();
    }
    in_parts(std::move(traced), tokens_of, [&, to = builder](std::vector<TracedRollout> part) {
      send_to(peers_.builders, to, setup_.index, std::move(part));
    });
  }
}

// A rollout whose values do not come in time fails; its group may still be good.
void TracerShell::expire() {
  const TimePoint time = now();
  std::vector<Tracer::Output> outputs;
  for (auto it = deadlines_.begin(); it != deadlines_.end();) {
    if (it->second.until > time) {
      ++it;
      continue;
    }
    const auto& [key, sample] = it->first;
    const std::string what = "no values within " +
                             std::to_string(setup_.options.deadlines.probe_ms) +
                             " ms (deadlines.probe_ms)";
    services().log->warn(own_name() + ": group " + std::to_string(key.group) + ", sample " +
                         std::to_string(sample) + ": " + what);
    outputs.push_back(tracer_->on_probe_failed(key, sample, {FailureClass::kProbe, what}));
    it = deadlines_.erase(it);
  }
  if (!outputs.empty()) pass_on(std::move(outputs));
}

void TracerShell::schedule() {
  if (working_ > 0)
    entry().begin_wait("verdicts", verifier_name(), verdict_since_,
                       verdict_since_ + tracer_->limits().longest);
  if (deadlines_.empty()) {
    entry().end_wait("values");
    set_state(working_ > 0 ? "waiting for verdicts" : "idle");
    return;
  }
  set_state("waiting for values");
  if (std::exchange(ticking_, true)) return;
  const auto first = std::min_element(
      deadlines_.begin(), deadlines_.end(),
      [](const auto& a, const auto& b) { return a.second.until < b.second.until; });
  const auto limit = std::chrono::milliseconds(setup_.options.deadlines.probe_ms);
  const Owed& owed = first->second;
  entry().begin_wait("values", name_of({Role::kGenerator, owed.generator}), owed.until - limit,
                     owed.until);
  const std::chrono::milliseconds pause =
      std::clamp(limit / 8, std::chrono::milliseconds(5), std::chrono::milliseconds(500));
  delayed_send(self(), pause, tick_atom::value);
}

}  // namespace tracewise
