#include "actors/coordinator_actor.hpp"

#include <algorithm>
#include <map>
#include <string>

#include "actors/timeline.hpp"

namespace tracewise {

CoordinatorShell::behavior_type CoordinatorShell::make_behavior() {
  // Before the first message: generators grant their windows while the others are still starting.
  control_ =
      std::make_unique<RunControl>(setup_.options, &setup_.parts->prompts, &setup_.parts->eval_sets,
                                   setup_.books.get(), setup_.wall_time, now());
  return {
      [this](start_atom) {
        committed_ = now();
        run(control_->begin(now()));
        look_at_time();
      },
      [this](Peers& peers) {
        peers_ = std::move(peers);
        join(Role::kTracer, peers_.tracers);
        join(Role::kBuilder, peers_.builders);
        join(Role::kGenerator, peers_.generators);
      },
      [this](handed_atom, uint32_t generator, const std::vector<GroupKey>& keys, uint32_t samples) {
        run(control_->on_handed(generator, keys, samples, now()));
      },
      [this](uint32_t generator, const EngineStats& stats) {
        seen();
        control_->set_engine_stats(generator, stats);
      },
      [this](const GroupFailed& failed) { run(control_->on_failed(failed, now())); },
      [this](std::vector<TracedRollout>& measured) {
        run(control_->on_measured(std::move(measured), now()));
      },
      [this](taken_atom, const std::vector<GroupKey>& keys,
             const std::vector<GroupKey>& without_signal, std::vector<LoggedRollout>& logged) {
        run(control_->on_taken(keys, without_signal, std::move(logged), now()));
      },
      [this](refused_atom, const std::vector<GroupKey>& keys) {
        run(control_->on_refused(keys, now()));
      },
      [this](const Commit& commit) {
        services().registry.add_span(kRunActor, "step " + std::to_string(commit.step), committed_,
                                     now());
        committed_ = now();
        run(control_->on_commit(commit, now()));
      },
      [this](lost_atom, const Seat& seat, const std::string& reason, bool blame) {
        run(control_->on_lost(seat, reason, blame, now()));
      },
      [this](drain_atom, const std::vector<Seat>& seats) { run(control_->on_drain(seats, now())); },
      [this](status_atom) {
        seen();
        return control_->dispatcher().work();
      },
      [this](order_atom, const RunOrder& order) {
        const Result<void> possible = control_->check(order);
        if (!possible.ok()) {
          seen();
          return to_outcome(possible);
        }
        services().tell(EventKind::kOperator, "operator", to_string(order));
        run(control_->on_order(order, now()));
        return Outcome{};
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
  for (GroupTask& task : todo.issue) {
    const uint32_t generator = task.route.generator;
    send_to(peers_.generators, generator, std::move(task));
  }
  for (SampleGroup& group : todo.empty_groups) send(peers_.learner, std::move(group));
  abandon(todo.abandon);
  for (const Seat& seat : todo.drained) report_drained(seat);
  if (todo.clock) send(peers_.learner, clock_atom::value, todo.clock->seconds, todo.clock->running);
  if (todo.save) save(std::move(*todo.save));
  if (todo.end) services().inbox.post_end(std::move(*todo.end));
  set_state(control_->activity());
}

template <class Actors>
void CoordinatorShell::join(Role role, const Actors& actors) {
  for (const auto& [number, actor] : actors) run(control_->on_join({role, number}, now()));
}

// Tells those on the groups' routes; who is lost itself is told by nobody.
void CoordinatorShell::abandon(const std::vector<Dispatcher::InFlight>& groups) {
  std::map<Seat, std::vector<GroupKey>> keys;
  for (const Dispatcher::InFlight& group : groups) {
    keys[{Role::kGenerator, group.route.generator}].push_back(group.key);
    keys[{Role::kTracer, group.route.tracer}].push_back(group.key);
    keys[{Role::kBuilder, group.route.builder}].push_back(group.key);
  }
  for (auto& [seat, given_up] : keys) {
    const auto tell = [&, number = seat.number, &list = given_up](const auto& actors) {
      send_to(actors, number, abandon_atom::value, std::move(list));
    };
    if (seat.role == Role::kGenerator) tell(peers_.generators);
    if (seat.role == Role::kTracer) tell(peers_.tracers);
    if (seat.role == Role::kBuilder) tell(peers_.builders);
  }
}

void CoordinatorShell::save(SaveRequest save_request) {
  const auto limit = std::chrono::milliseconds(save_request.deadline_ms);
  entry().begin_wait("checkpoint", "learner", now(), now() + limit);
  request(peers_.learner, limit, std::move(save_request))
      .then(
          [this](const SaveReply& reply) {
            entry().end_wait("checkpoint");
            if (!reply.outcome.ok) return fail(to_error(reply.outcome));
            services().note(EventKind::kCheckpoint, own_name(), "checkpoint " + reply.folder);
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

// Who has the group, as far as the coordinator knows: its tracer may have given it to the builder.
Seat CoordinatorShell::holder(const Dispatcher::InFlight& flight) {
  if (flight.handed_on) return {Role::kTracer, flight.route.tracer};
  return {Role::kGenerator, flight.route.generator};
}

// Deadlines, progress and what the inspector shows; a few times a second.
void CoordinatorShell::look_at_time() {
  const TimePoint time = now();
  const auto late = control_->dispatcher().overdue(time);
  Result<RunControl::Todo> todo = control_->on_tick(time);
  if (!todo.ok()) {
    // Who is in the way is known; the registry knows what it is doing.
    const std::string who = late ? name_of(holder(*late)) : "learner";
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
  std::map<Seat, Open> open;  // by who has them
  for (const auto& [group, flight] : control_->dispatcher().in_flight()) {
    Open& o = open[holder(flight)];
    o.since = std::min(o.since, flight.since);
    o.until = std::min(o.until, flight.deadline);
  }
  for (const Seat& seat : std::exchange(shown_, {})) {
    if (!open.contains(seat)) entry().end_wait("groups of " + name_of(seat));
  }
  for (const auto& [seat, o] : open) {
    entry().begin_wait("groups of " + name_of(seat), name_of(seat), o.since, o.until);
    shown_.insert(seat);
  }
  if (const auto since = control_->batch_since()) {
    const auto limit = std::chrono::milliseconds(setup_.options.deadlines.train_ms);
    entry().begin_wait("a step", "learner", *since, *since + limit);
  } else {
    entry().end_wait("a step");
  }
}

}  // namespace tracewise
