#include "actors/supervisor_actor.hpp"

#include <caf/actor_system.hpp>

namespace tracewise {
namespace {

// What the outside world did wrong (weights that do not fit, options, a full disk) would meet a
// replacement as well; a library's failure may not.
bool may_pass(const Error& error) { return error.error_class == ErrorClass::kInternal; }

void remove(const Seat& seat, Peers& peers) {
  switch (seat.role) {
    case Role::kGenerator:
      peers.generators.erase(seat.number);
      return;
    case Role::kTracer:
      peers.tracers.erase(seat.number);
      return;
    case Role::kBuilder:
      peers.builders.erase(seat.number);
      return;
    case Role::kRank:
      peers.ranks.erase(seat.number);
      return;
  }
}

void add(const Seat& seat, const Hired& hired, const NodeAddress& node, Peers& peers) {
  switch (seat.role) {
    case Role::kGenerator:
      peers.generators[seat.number] = hired.generator;
      return;
    case Role::kTracer:
      peers.tracers[seat.number] = hired.tracer;
      return;
    case Role::kBuilder:
      peers.builders[seat.number] = hired.builder;
      return;
    case Role::kRank:
      peers.ranks[seat.number] = {hired.rank, node};
      return;
  }
}

// f(the seat's actor).
template <class F>
void with_actor(const Seat& seat, const Hired& hired, F f) {
  switch (seat.role) {
    case Role::kGenerator:
      return f(hired.generator);
    case Role::kTracer:
      return f(hired.tracer);
    case Role::kBuilder:
      return f(hired.builder);
    case Role::kRank:
      return f(hired.rank);
  }
}

}  // namespace

SupervisorShell::behavior_type SupervisorShell::make_behavior() {
  set_down_handler([this](caf::down_msg& down) { on_down(down); });
  return {
      [this](start_atom, Peers& peers) {
        seen();
        begin(std::move(peers));
      },
      [this](failed_atom, const std::string& name, uint8_t error_class,
             const std::string& message) {
        seen();
        last_words_[name] = {static_cast<ErrorClass>(error_class), message};
        services().log->warn(name + ": " + message);
        if (services().events) services().events->add(EventKind::kActor, name, message);
      },
      [this](lost_atom, const Seat& seat, const std::string& reason) {
        seen();
        give_up(seat, reason);
      },
      [this](join_atom, const NodeAddress& address) -> caf::result<Welcome> {
        seen();
        return answer_join(address);
      },
      [this](ready_atom, NodeOffer& offer) {
        seen();
        node_ready(std::move(offer));
      },
      [this](pong_atom, const std::string& node, uint64_t, const std::vector<std::string>& parted) {
        if (const auto change = membership_.heard(node, now(), parted)) apply(*change);
      },
      [this](leave_atom, const std::string& node) {
        seen();
        if (const auto change = membership_.leave(node)) apply(*change);
      },
      [this](status_atom) {
        seen();
        return status();
      },
      [this](inspect_atom) {
        seen();
        return inspectors();
      },
      [this](drain_atom, const std::string& node) {
        seen();
        return drain(node);
      },
      [this](drained_atom, const Seat& seat) {
        seen();
        drained(seat);
      },
      [this](tick_atom) { tick(); },
      [this](wake_atom) {
        spread_due_ = false;
        spread();
      },
      [this](stop_atom, bool over, const std::string& why) {
        seen();
        end_all(over, why);
      },
  };
}

void SupervisorShell::let_go() {
  setup_.hire = nullptr;
  setup_.cut = nullptr;
  nodes_.clear();
}

// The learner starts beside the seats, once its other ranks are there: whoever is ready first waits
// in `peers_` for the others.
void SupervisorShell::begin(Peers peers) {
  peers_ = std::move(peers);
  watch(peers_.coordinator, "coordinator");
  watch(peers_.learner, "learner");
  for (uint32_t i = 0; i < setup_.seats.tracers; ++i) hire(Role::kTracer, "");
  for (uint32_t i = 0; i < setup_.seats.builders; ++i) hire(Role::kBuilder, "");
  for (uint32_t i = 0; i < setup_.seats.generators; ++i) hire(Role::kGenerator, "");
  for (const std::string& node : setup_.expected) starting_.insert("node " + node);
  starting_.insert("learner");
  start_learner();
  tick();
}

void SupervisorShell::start_learner() {
  if (peers_.ranks.size() < setup_.ranks || std::exchange(learner_begun_, true)) return;
  start(
      peers_.learner, "learner", [this] { spread_soon(); }, peers_);
}

void SupervisorShell::hire(Role role, const std::string& node) {
  const Seat seat{role, next_number_[role]++};
  if (node.empty()) return hired(seat, node, setup_.hire(seat, self()));
  nodes_.at(node).seats.insert(seat);
  starting_.insert(name_of(seat));
  const auto limit = std::chrono::milliseconds(setup_.options.deadlines.start_ms);
  const std::string wait = "a seat for " + name_of(seat);
  entry().begin_wait(wait, "node " + node, now(), now() + limit);
  request(nodes_.at(node).offer.agent, limit, hire_atom::value, seat)
      .then(
          [this, seat, node, wait](const Hired& actor) {
            entry().end_wait(wait);
            // A node that was lost meanwhile has no seats any more.
            if (nodes_.count(node) > 0 && nodes_.at(node).seats.count(seat) > 0)
              hired(seat, node, actor);
          },
          [this, seat, node, wait](caf::error&) {
            entry().end_wait(wait);
            if (nodes_.count(node) > 0 && nodes_.at(node).seats.count(seat) > 0)
              lose_node(node, "it did not make an actor for " + name_of(seat));
          });
}

void SupervisorShell::hired(const Seat& seat, const std::string& node, const Hired& actor) {
  hired_[seat] = actor;
  with_actor(seat, actor, [&](const auto& handle) {
    watch(handle, name_of(seat), node, seat);
    start(handle, name_of(seat), [this, seat, node, actor] {
      add(seat, actor, node.empty() ? NodeAddress{} : addresses_.at(node), peers_);
      start_learner();
      spread_soon();
    });
  });
}

template <class Handle, class... Ts>
void SupervisorShell::start(const Handle& actor, const std::string& name,
                            std::function<void()> ready, Ts&&... message) {
  starting_.insert(name);
  const auto limit = std::chrono::milliseconds(setup_.options.deadlines.start_ms);
  entry().begin_wait("its start, " + name, name, now(), now() + limit);
  set_state("starting actors");
  request(actor, limit, start_atom::value, std::forward<Ts>(message)...)
      .then(
          [this, name, ready](const Outcome& outcome) {
            entry().end_wait("its start, " + name);
            if (starting_.erase(name) == 0) return;
            if (outcome.ok) return ready();
            const Error error = to_error(outcome);
            end_run({error.error_class, name + ": " + error.message});
          },
          [this, name](caf::error& error) {
            entry().end_wait("its start, " + name);
            // It died or its node was lost: that is heard of in other ways.
            if (error != caf::sec::request_timeout || starting_.count(name) == 0) return;
            end_run({ErrorClass::kDeadline, name + " was not ready within " +
                                                std::to_string(setup_.options.deadlines.start_ms) +
                                                " ms (deadlines.start_ms)"});
          });
}

// Who comes or goes does so with the other seats of its node: what is known by now, and what waits
// in the mailbox, is told at once.
void SupervisorShell::spread_soon() {
  if (!std::exchange(spread_due_, true)) send(self(), wake_atom::value);
}

// Tells everybody who is who. The first time only when all are ready, from then on at each change.
void SupervisorShell::spread() {
  if (stopping_ || (!begun_ && !starting_.empty())) return;
  set_state("watching");
  const uint64_t epoch = ++peers_.epoch;
  spreading_[epoch].peers = peers_;
  const Peers all = peers_;
  Peers to_tracers = all, to_builders = all, to_generators = all;
  to_tracers.tracers.clear();
  to_builders.generators.clear(), to_builders.builders.clear();
  to_generators.generators.clear(), to_generators.builders.clear();
  for (Peers* peers : {&to_tracers, &to_builders, &to_generators}) peers->ranks.clear();
  // Downstream first, so that nobody hears of rollouts from somebody it does not know.
  tell(all.learner, "learner", all);
  for (const auto& [number, actor] : all.builders)
    tell(actor, name_of({Role::kBuilder, number}), to_builders);
  for (const auto& [number, actor] : all.tracers)
    tell(actor, name_of({Role::kTracer, number}), to_tracers);
  for (const auto& [number, actor] : all.generators)
    tell(actor, name_of({Role::kGenerator, number}), to_generators);
}

template <class Handle>
void SupervisorShell::tell(const Handle& actor, const std::string& name, const Peers& peers) {
  const uint64_t epoch = peers.epoch;
  spreading_.at(epoch).missing.insert(name);
  // A learner in the middle of a batch looks up after it.
  const auto limit = std::chrono::milliseconds(setup_.options.deadlines.train_ms);
  const std::string wait = "who is who, epoch " + std::to_string(epoch) + ", " + name;
  entry().begin_wait(wait, name, now(), now() + limit);
  request(actor, limit, peers)
      .then(
          [this, wait, epoch, name](uint64_t) {
            entry().end_wait(wait);
            told(epoch, name);
          },
          [this, wait, epoch, name](caf::error& error) {
            entry().end_wait(wait);
            const auto found = spreading_.find(epoch);
            if (found == spreading_.end() || found->second.missing.count(name) == 0) return;
            if (error != caf::sec::request_timeout) return;  // it died: on_down knows
            end_run({ErrorClass::kDeadline, name + " did not take note of its peers within " +
                                                std::to_string(setup_.options.deadlines.train_ms) +
                                                " ms (deadlines.train_ms)"});
          });
}

void SupervisorShell::told(uint64_t epoch, const std::string& name) {
  const auto found = spreading_.find(epoch);
  if (found == spreading_.end()) return;
  found->second.missing.erase(name);
  if (!found->second.missing.empty()) return;
  send(peers_.coordinator, std::move(found->second.peers));
  // What was known of before is overtaken.
  spreading_.erase(spreading_.begin(), std::next(found));
  if (!std::exchange(begun_, true)) services().inbox.post_ready();
}

// The supervisor knows the actors of this moment, replacements included.
void SupervisorShell::end_all(bool over, const std::string& why) {
  stopping_ = true;
  const auto end = [this](const auto& actor) {
    if (actor) send_exit(actor, caf::exit_reason::user_shutdown);
  };
  end(peers_.coordinator);
  end(peers_.learner);
  for (const auto& [seat, actor] : hired_) {
    end(actor.generator);
    end(actor.tracer);
    end(actor.builder);
    end(actor.rank);
  }
  for (const auto& [name, node] : nodes_) send(node.offer.agent, stop_atom::value, over, why);
  hired_.clear();
  spreading_.clear();
  quit(caf::exit_reason::user_shutdown);
}

void SupervisorShell::end_run(Error error) { services().inbox.post_end(std::move(error)); }

void SupervisorShell::on_down(const caf::down_msg& down) {
  const auto found = watched_.find(down.source);
  if (stopping_ || found == watched_.end()) return;
  const Watched who = found->second;
  watched_.erase(found);
  const auto words = last_words_.extract(who.name);
  if (!who.node.empty() && words.empty()) {
    // Whatever a node's actors die of, they say so; the silence of one is that of its node.
    return lose_node(who.node, "its connection broke");
  }
  const Error reason =
      words.empty()
          ? Error{ErrorClass::kInternal, "it ended without a word: " + system().render(down.reason)}
          : words.mapped();
  const bool replaceable = who.seat && who.seat->role != Role::kRank;
  if (!replaceable || !begun_ || restarts_left_ == 0 || !may_pass(reason)) {
    return end_run({reason.error_class, who.name + ": " + reason.message});
  }
  --restarts_left_;
  services().tell(
      EventKind::kActor, "supervisor",
      who.name + " is replaced, " + std::to_string(restarts_left_) + " restarts are left");
  lose(*who.seat, reason.message, true);
  const auto node = nodes_.find(who.node);
  if (node != nodes_.end() && node->second.drained) return let_go_if_drained(who.node);
  hire(who.seat->role, who.node);
}

// Somebody waited for a seat's actor in vain. On another node that costs the node; here its thread
// cannot be had back, so the run ends.
void SupervisorShell::give_up(const Seat& seat, const std::string& reason) {
  if (stopping_ || hired_.count(seat) == 0) return;
  for (const auto& [name, node] : nodes_) {
    if (node.seats.count(seat) > 0) return lose_node(std::string(name), reason);
  }
  end_run({ErrorClass::kDeadline, reason});
}

// The coordinator hears of the loss first: it sends no more work that way. Nobody waits for the
// answers of who is gone.
void SupervisorShell::lose(const Seat& seat, const std::string& reason, bool blame) {
  hired_.erase(seat);
  remove(seat, peers_);
  if (seat.role == Role::kRank) return lose_rank(seat, reason);
  for (auto& [name, node] : nodes_) node.seats.erase(seat);
  for (auto& [epoch, spreading] : spreading_) remove(seat, spreading.peers);
  send(peers_.coordinator, lost_atom::value, seat, reason, blame);
  starting_.erase(name_of(seat));
  std::vector<uint64_t> waiting;
  for (const auto& [epoch, spreading] : spreading_) {
    if (spreading.missing.count(name_of(seat)) > 0) waiting.push_back(epoch);
  }
  for (const uint64_t epoch : waiting) told(epoch, name_of(seat));
  spread_soon();
}

// The other ranks cannot go on without it; before they have met it may come back.
void SupervisorShell::lose_rank(const Seat& seat, const std::string& reason) {
  starting_.erase(name_of(seat));
  if (!learner_begun_) return;
  end_run(
      {ErrorClass::kInternal,
       name_of(seat) + " is gone, so the run has to go back to its newest checkpoint: " + reason});
}

}  // namespace tracewise
