// The supervisor's other nodes: how they come, are watched over and go.
#include <algorithm>

#include "actors/supervisor_actor.hpp"

namespace tracewise {

// Whoever comes later makes the links, so that every two nodes have one before their actors hear of
// each other.
Welcome SupervisorShell::welcome(const NodeAddress& address) {
  Welcome welcome;
  if (stopping_) {
    welcome.outcome = to_outcome(Error{ErrorClass::kCancelled, "the run is ending"});
    return welcome;
  }
  if (!membership_.join(address.name, now())) {
    welcome.outcome = to_outcome(Error{
        ErrorClass::kBadInput, "a node " + address.name + " belongs to the run already and is " +
                                   to_string(*membership_.state(address.name))});
    return welcome;
  }
  services().log->info("node " + address.name + " joins from " + address.host);
  addresses_.erase(address.name);
  for (const auto& [name, other] : addresses_) welcome.nodes.push_back(other);
  addresses_[address.name] = address;
  welcome.config = setup_.config;
  return welcome;
}

void SupervisorShell::node_ready(NodeOffer offer) {
  const std::string node = offer.address.name;
  if (stopping_ || !membership_.ready(node, now())) {
    send(offer.agent, stop_atom::value, false, "it was not expected any more");
    return;
  }
  services().log->info("node " + node + " is ready");
  watch(offer.agent, "the agent of node " + node, node);
  const SeatCounts seats = offer.seats;
  nodes_[node] = {std::move(offer), {}};
  for (uint32_t i = 0; i < seats.tracers; ++i) hire(Role::kTracer, node);
  for (uint32_t i = 0; i < seats.builders; ++i) hire(Role::kBuilder, node);
  for (uint32_t i = 0; i < seats.generators; ++i) hire(Role::kGenerator, node);
  for (uint32_t i = 0; i < seats.ranks; ++i) hire(Role::kRank, node);
  starting_.erase("node " + node);
  spread();
}

void SupervisorShell::apply(const Membership::Change& change) {
  const std::string what = "node " + change.node + " is " + to_string(change.state);
  services().tell(change.reason.empty() ? what : what + ": " + change.reason);
  if (change.state == NodeState::kLost) lose_node(change.node, change.reason);
  if (change.state == NodeState::kLeft) lose_node(change.node, "it left the run");
}

// A node is lost as a whole: what is said of one of its actors holds for all of them.
void SupervisorShell::lose_node(const std::string& node, const std::string& reason) {
  addresses_.erase(node);
  const auto found = nodes_.find(node);
  if (found == nodes_.end()) return;
  if (const auto change = membership_.lose(node, reason))
    services().tell("node " + node + " is lost: " + reason);
  const std::set<Seat> seats = found->second.seats;
  send(found->second.offer.agent, stop_atom::value, false, reason);
  std::erase_if(watched_, [&](const auto& watched) { return watched.second.node == node; });
  nodes_.erase(found);
  for (const Seat& seat : seats) lose(seat, "node " + node + " is lost: " + reason, false);
  setup_.cut(node);
  // Before the run has begun, the node is still waited for.
  if (!begun_ && std::count(setup_.expected.begin(), setup_.expected.end(), node) > 0)
    starting_.insert("node " + node);
}

// Pings, and what became overdue.
void SupervisorShell::tick() {
  if (stopping_ || setup_.config.empty()) return;  // no other nodes
  const TimePoint time = now();
  for (const auto& [name, node] : nodes_) send(node.offer.agent, ping_atom::value, pings_);
  ++pings_;
  for (const Membership::Change& change : membership_.tick(time)) apply(change);
  check_vacancies();
  delayed_send(self(), std::chrono::milliseconds(setup_.membership.heartbeat_ms), tick_atom::value);
}

// A run without generators, say, waits for a node that brings one; not for ever.
void SupervisorShell::check_vacancies() {
  std::string missing;
  const auto need = [&](bool there, const std::string& what) {
    if (!there) missing += (missing.empty() ? "" : ", ") + what;
  };
  if (begun_) {
    need(!peers_.generators.empty(), "a generator");
    need(!peers_.tracers.empty(), "a tracer");
    need(!peers_.builders.empty(), "a preference builder");
  } else {
    for (const std::string& name : starting_) need(false, name);
  }
  if (missing.empty()) {
    vacant_since_.reset();
    entry().end_wait("who is missing");
    return;
  }
  if (!vacant_since_) vacant_since_ = now();
  const auto limit = std::chrono::milliseconds(setup_.options.deadlines.start_ms);
  entry().begin_wait("who is missing", missing, *vacant_since_, *vacant_since_ + limit);
  if (now() - *vacant_since_ < limit) return;
  end_run({ErrorClass::kDeadline, "the run waited " +
                                      std::to_string(setup_.options.deadlines.start_ms) +
                                      " ms (deadlines.start_ms) for " + missing});
}

}  // namespace tracewise
