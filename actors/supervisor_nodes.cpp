// The supervisor's other nodes: how they come, are watched over and go.
#include <algorithm>

#include "actors/links.hpp"
#include "actors/supervisor_actor.hpp"

namespace tracewise {

// A node joins by the name of its certificate and no other. Whether a door is where the node says,
// everybody finds out who dials it: dial() expects that name there.
caf::result<Welcome> SupervisorShell::answer_join(const NodeAddress& address) {
  const caf::node_id from = current_sender()->node();  // the promise takes the sender over
  auto promise = make_response_promise<Welcome>();
  const auto limit = std::chrono::milliseconds(setup_.membership.lost_ms);
  auto answer = [this, promise, address](const std::string& node) mutable {
    if (node == address.name) {
      promise.deliver(welcome(address));
      return;
    }
    services().log->warn("node '" + node + "' asked to join as " + address.name +
                         " and was refused");
    Welcome refused;
    refused.outcome = to_outcome(bad_input("the node's certificate is that of '" + node +
                                           "', it cannot join as " + address.name));
    promise.deliver(std::move(refused));
  };
  request(peer_book(system()), limit, caf::get_atom::value, from)
      .then([answer](const caf::node_id&, const std::string& node,
                     uint16_t) mutable { answer(node); },
            [answer](caf::error&) mutable { answer(""); });
  return promise;
}

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
  dismissed_.erase(address.name);
  addresses_.erase(address.name);
  for (const auto& [name, other] : addresses_) welcome.nodes.push_back(other);
  addresses_[address.name] = address;
  welcome.config = setup_.config;
  return welcome;
}

void SupervisorShell::node_ready(NodeOffer offer) {
  const std::string node = offer.address.name;
  if (stopping_ || !membership_.ready(node, now(), offer.seats.ranks > 0)) {
    send(offer.agent, stop_atom::value, false, "it was not expected any more");
    return;
  }
  services().note(EventKind::kNode, "supervisor", "node " + node + " is ready");
  watch(offer.agent, "the agent of node " + node, node);
  const SeatCounts seats = offer.seats;
  nodes_[node] = {std::move(offer), {}};
  for (uint32_t i = 0; i < seats.tracers; ++i) hire(Role::kTracer, node);
  for (uint32_t i = 0; i < seats.builders; ++i) hire(Role::kBuilder, node);
  for (uint32_t i = 0; i < seats.generators; ++i) hire(Role::kGenerator, node);
  for (uint32_t i = 0; i < seats.ranks; ++i) hire(Role::kRank, node);
  starting_.erase("node " + node);
  spread_soon();
}

void SupervisorShell::apply(const Membership::Change& change) {
  const std::string what = "node " + change.node + " is " + to_string(change.state);
  services().tell(EventKind::kNode, "supervisor",
                  change.reason.empty() ? what : what + ": " + change.reason);
  if (change.state == NodeState::kLost) lose_node(change.node, change.reason);
  if (change.state == NodeState::kLeft) lose_node(change.node, "it left the run");
}

// A node is lost as a whole: what is said of one of its actors holds for all of them.
void SupervisorShell::lose_node(const std::string& node, const std::string& reason) {
  if (nodes_.count(node) == 0) {
    addresses_.erase(node);
    return;
  }
  if (const auto change = membership_.lose(node, reason))
    services().tell(EventKind::kNode, "supervisor", "node " + node + " is lost: " + reason);
  part_with(node, reason, false);
  setup_.cut(node);
  // Before the run has begun, the node is still waited for.
  if (!begun_ && std::count(setup_.expected.begin(), setup_.expected.end(), node) > 0)
    starting_.insert("node " + node);
}

// Ends what the run has on a node. `over`: the node has no business with the run any more.
void SupervisorShell::part_with(const std::string& node, const std::string& reason, bool over) {
  addresses_.erase(node);
  const auto found = nodes_.find(node);
  const std::set<Seat> seats = found->second.seats;
  send(found->second.offer.agent, stop_atom::value, over, reason);
  std::erase_if(watched_, [&](const auto& watched) { return watched.second.node == node; });
  nodes_.erase(found);
  const std::string what = "node " + node + (over ? " has left: " : " is lost: ") + reason;
  for (const Seat& seat : seats) lose(seat, what, false);
}

Outcome SupervisorShell::drain(const std::string& node) {
  const auto refuse = [&](const std::string& why) { return to_outcome(bad_input(why)); };
  if (stopping_) return refuse("the run is ending");
  if (!begun_) return refuse("the run has not begun: its nodes are still joining");
  const auto found = nodes_.find(node);
  if (found == nodes_.end()) return refuse("no node " + node + " works for the run");
  if (found->second.drained) return {};
  if (std::ranges::any_of(found->second.seats,
                          [](const Seat& seat) { return seat.role == Role::kRank; }))
    return refuse("node " + node + " has a rank of the learner, which cannot go on without it");
  if (const std::string role = vacancy_without(node); !role.empty()) {
    return refuse("node " + node + " has the last " + role +
                  " of the run: without it the run would stand still; let another node join first");
  }
  services().tell(EventKind::kOperator, "operator", "node " + node + " is drained");
  found->second.drained.emplace();
  const auto& seats = found->second.seats;
  send(peers_.coordinator, drain_atom::value, std::vector<Seat>(seats.begin(), seats.end()));
  let_go_if_drained(node);
  return {};
}

// The role that nobody would have if `node` left, beside those that are leaving already; empty:
// each has somebody.
std::string SupervisorShell::vacancy_without(const std::string& node) const {
  std::set<Seat> leaving;
  for (const auto& [name, other] : nodes_) {
    if (name == node || other.drained) leaving.insert(other.seats.begin(), other.seats.end());
  }
  const auto stays = [&](Role role, const auto& actors) {
    return std::ranges::any_of(actors, [&](const auto& actor) {
      return leaving.count({role, actor.first}) == 0;
    });
  };
  if (!stays(Role::kGenerator, peers_.generators)) return name_of(Role::kGenerator);
  if (!stays(Role::kTracer, peers_.tracers)) return name_of(Role::kTracer);
  if (!stays(Role::kBuilder, peers_.builders)) return name_of(Role::kBuilder);
  return {};
}

void SupervisorShell::drained(const Seat& seat) {
  for (auto& [name, node] : nodes_) {
    if (!node.drained || node.seats.count(seat) == 0) continue;
    node.drained->insert(seat);
    return let_go_if_drained(std::string(name));
  }
}

// Once none of its seats has anything to do. The word to go may still be on its way, so the links
// are cut later, if the node does not do it.
void SupervisorShell::let_go_if_drained(const std::string& node) {
  const Node& leaving = nodes_.at(node);
  if (stopping_ || !std::ranges::includes(*leaving.drained, leaving.seats)) return;
  const std::string reason = "it was drained";
  (void)membership_.leave(node, reason);
  services().tell(EventKind::kNode, "supervisor", "node " + node + " has left: " + reason);
  part_with(node, reason, true);
  dismissed_[node] = now() + std::chrono::milliseconds(setup_.membership.lost_ms);
}

std::vector<NodeStatus> SupervisorShell::status() const {
  std::vector<NodeStatus> all(1);
  for (const auto& [seat, actor] : hired_) {
    const auto on_node = [&seat = seat](const auto& node) {
      return node.second.seats.count(seat) > 0;
    };
    if (std::ranges::none_of(nodes_, on_node)) all[0].seats.push_back({seat, 0, 0});
  }
  for (const std::string& name : membership_.nodes()) {
    NodeStatus& status = all.emplace_back();
    status.node = name;
    status.state = *membership_.state(name);
    if (const auto address = addresses_.find(name); address != addresses_.end())
      status.host = address->second.host;
    const auto node = nodes_.find(name);
    if (node == nodes_.end()) continue;
    status.draining = node->second.drained.has_value();
    for (const Seat& seat : node->second.seats) status.seats.push_back({seat, 0, 0});
  }
  for (const auto& [name, change] : membership_.gone())
    all.push_back({name, "", change.state, false, change.reason, {}, {}, ""});
  return all;
}

std::vector<NodeInspector> SupervisorShell::inspectors() const {
  std::vector<NodeInspector> all;
  for (const auto& [name, node] : nodes_) all.push_back({name, node.offer.inspector});
  return all;
}

// Pings, and what became overdue.
void SupervisorShell::tick() {
  if (stopping_ || setup_.config.empty()) return;  // no other nodes
  const TimePoint time = now();
  for (const auto& [name, node] : nodes_) send(node.offer.agent, ping_atom::value, pings_);
  ++pings_;
  for (const Membership::Change& change : membership_.tick(time)) apply(change);
  std::erase_if(dismissed_, [&](const auto& dismissed) {
    if (time < dismissed.second) return false;
    setup_.cut(dismissed.first);
    return true;
  });
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
