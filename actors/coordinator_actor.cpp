#include "actors/coordinator_actor.hpp"

#include <algorithm>
#include <map>
#include <string>

namespace tracewise {

CoordinatorShell::behavior_type CoordinatorShell::make_behavior() {
  // Before the first message: generators grant their windows while the others are still starting.
  control_ = std::make_unique<RunControl>(setup_.options, &setup_.parts->prompts,
                                          &setup_.parts->eval_prompts, setup_.books.get(),
                                          setup_.wall_time, now());
  return {
      [this](start_atom, Peers& peers) {
        seen();
        peers_ = std::move(peers);
        run(control_->begin(now()));
        look_at_time();
      },
      [this](Peers& peers) {
        seen();
        peers_ = std::move(peers);
      },
      [this](grant_atom, uint32_t generator, uint32_t samples) {
        run(control_->on_grant(generator, samples, now()));
      },
      [this](handed_atom, uint32_t, const std::vector<GroupKey>& keys) {
        for (const GroupKey& key : keys) run(control_->on_generated(key, now()));
      },
      [this](uint32_t generator, const EngineStats& stats) {
        seen();
        control_->set_engine_stats(generator, stats);
      },
      [this](BuiltNotice& notice) {
        run(control_->on_built(notice.key, std::move(notice.logged), now()));
      },
      [this](const GroupFailed& failed) { run(control_->on_failed(failed, now())); },
      [this](std::vector<TracedRollout>& measured) {
        run(control_->on_measured(std::move(measured), now()));
      },
      [this](const Commit& commit) { run(control_->on_commit(commit, now())); },
      [this](refused_atom, const std::vector<GroupKey>& keys) {
        run(control_->on_refused(keys, now()));
      },
      [this](lost_atom, uint32_t generator, const std::string& reason) {
        run(control_->on_generator_lost(generator, reason, now()));
      },
      [this](stop_atom) {
        services().log->info("coordinator: a stop was asked for");
        run(control_->on_stop(now()));
      },
      [this](tick_atom) { look_at_time(); },
  };
}

void CoordinatorShell::let_go() {
  control_.reset();
  setup_.books.reset();
}

// Carries out what the event led to.
void CoordinatorShell::run(Result<RunControl::Todo> result) {
  seen();
  if (!good(result)) return;
  RunControl::Todo& todo = *result;
  for (auto& [generator, task] : todo.issue) {
    send(peers_.generators.at(generator), std::move(task));
  }
  for (SampleGroup& group : todo.empty_groups) send(peers_.learner, std::move(group));
  if (!todo.abandon.empty()) {
    for (const TracerActor& tracer : peers_.tracers) {
      send(tracer, abandon_atom::value, todo.abandon);
    }
    for (const BuilderActor& builder : peers_.builders) {
      send(builder, abandon_atom::value, todo.abandon);
    }
  }
  if (todo.clock) send(peers_.learner, clock_atom::value, todo.clock->seconds, todo.clock->running);
  if (todo.save) save(std::move(*todo.save));
  if (todo.end) services().inbox.post_end(std::move(*todo.end));
  set_state(control_->progress(now()).activity);
}

void CoordinatorShell::save(SaveRequest save_request) {
  const auto limit = std::chrono::milliseconds(save_request.deadline_ms);
  entry().begin_wait("checkpoint", "learner", now(), now() + limit);
  request(peers_.learner, limit, std::move(save_request))
      .then(
          [this](const SaveReply& reply) {
            entry().end_wait("checkpoint");
            if (!reply.outcome.ok) return fail(to_error(reply.outcome));
            run(control_->on_saved(reply.step, reply.folder, now()));
          },
          [this, limit](caf::error& error) {
            entry().end_wait("checkpoint");
            if (error != caf::sec::request_timeout) return;  // the learner died: the supervisor's
            fail({ErrorClass::kDeadline, "the learner did not write a checkpoint within " +
                                             std::to_string(limit.count()) + " ms; " +
                                             services().registry.describe("learner", now())});
          });
}

// Deadlines, progress and what the inspector shows; a few times a second.
void CoordinatorShell::look_at_time() {
  const TimePoint time = now();
  const auto late = control_->dispatcher().overdue(time);
  Result<RunControl::Todo> todo = control_->on_tick(time);
  if (!todo.ok()) {
    // Who is in the way is known; the registry knows what it is doing.
    const std::string who = late ? "generator " + std::to_string(late->generator) : "learner";
    const Error& error = todo.error();
    return fail(
        {error.error_class, error.message + "; " + services().registry.describe(who, time)});
  }
  run(std::move(todo));
  show_waits();
  const double pause = setup_.options.progress_seconds;
  if (pause > 0 && std::chrono::duration<double>(time - last_progress_).count() >= pause) {
    services().inbox.post_progress(control_->progress(time));
    last_progress_ = time;
  }
  const Deadlines& d = setup_.options.deadlines;
  const int64_t shortest = std::min(d.group_ms, d.train_ms);
  delayed_send(self(), std::chrono::milliseconds(std::clamp<int64_t>(shortest / 8, 5, 200)),
               tick_atom::value);
}

void CoordinatorShell::show_waits() {
  struct Open {
    TimePoint since = TimePoint::max();
    TimePoint until = TimePoint::max();
  };
  std::map<uint32_t, Open> open;  // by generator
  for (const auto& [group, flight] : control_->dispatcher().in_flight()) {
    Open& o = open[flight.generator];
    o.since = std::min(o.since, flight.since);
    o.until = std::min(o.until, flight.deadline);
  }
  for (uint32_t g = 0; g < peers_.generators.size(); ++g) {
    const std::string who = "generator " + std::to_string(g);
    if (const auto it = open.find(g); it != open.end()) {
      entry().begin_wait("groups of " + who, who, it->second.since, it->second.until);
    } else {
      entry().end_wait("groups of " + who);
    }
  }
  if (const auto since = control_->batch_since()) {
    const auto limit = std::chrono::milliseconds(setup_.options.deadlines.train_ms);
    entry().begin_wait("a step", "learner", *since, *since + limit);
  } else {
    entry().end_wait("a step");
  }
}

}  // namespace tracewise
