#include "actors/control_desk.hpp"

#include <caf/actor_system.hpp>
#include <caf/scoped_actor.hpp>
#include <map>
#include <utility>

#include "actors/ask.hpp"
#include "actors/shell.hpp"

namespace tracewise {
namespace {

// Of each actor that is asked; one that writes to a slow disk may take a while.
constexpr std::chrono::seconds kActorLimit{2};

// What `actor`, which waits name `who`, answers to `message`.
template <class Reply, class Actor, class... Ts>
Result<Reply> answer_of(caf::actor_system& system, std::string_view who, const Actor& actor,
                        const Ts&... message) {
  Result<Reply> reply = Error{ErrorClass::kDeadline, "the run is busy or ending: ask again"};
  const auto take = [&](Reply& got) { reply = std::move(got); };
  (void)ask_actor(system, {"an answer", who, kActorLimit}, take, actor, message...);
  return reply;
}

}  // namespace

std::string ControlDesk::answer(const std::string& request, const std::string& peer) const {
  return to_text(carry_out(request, peer));
}

ControlAnswer ControlDesk::carry_out(const std::string& request, const std::string& peer) const {
  if (peer != kOperatorName) {
    return bad_input("node " + peer + " may not ask: only who has the run's secrets may");
  }
  TW_ASSIGN(const ControlRequest asked, control_request(request));
  if (asked.kind == ControlRequest::Kind::kActors) return actors();
  if (asked.kind == ControlRequest::Kind::kStop) {
    auto before = nodes();  // the run may be over before they could be asked
    stop_();
    return before;
  }
  if (asked.kind == ControlRequest::Kind::kDrain) TW_TRY(drain(asked.node));
  if (asked.kind == ControlRequest::Kind::kOrder) TW_TRY(order(asked.order));
  return nodes();
}

Result<void> ControlDesk::drain(const std::string& node) const {
  if (node == head_.name)
    return bad_input("the head cannot be drained; a signal to its launcher stops the run");
  TW_ASSIGN(const Outcome outcome,
            answer_of<Outcome>(*system_, "supervisor", supervisor_, drain_atom::value, node));
  if (!outcome.ok) return to_error(outcome);
  return {};
}

Result<void> ControlDesk::order(const RunOrder& order) const {
  TW_ASSIGN(const Outcome outcome,
            answer_of<Outcome>(*system_, "coordinator", coordinator_, order_atom::value, order));
  if (!outcome.ok) return to_error(outcome);
  return {};
}

ControlAnswer ControlDesk::nodes() const {
  TW_ASSIGN(auto nodes, answer_of<std::vector<NodeStatus>>(*system_, "supervisor", supervisor_,
                                                           status_atom::value));
  nodes.front().node = head_.name;
  nodes.front().host = head_.host;
  TW_ASSIGN(const auto work, answer_of<std::vector<SeatWork>>(*system_, "coordinator", coordinator_,
                                                              status_atom::value));
  std::map<Seat, SeatWork> by_seat;
  for (const SeatWork& of_seat : work) by_seat[of_seat.seat] = of_seat;
  for (NodeStatus& node : nodes) {
    for (SeatWork& seat : node.seats) {
      if (const auto found = by_seat.find(seat.seat); found != by_seat.end()) seat = found->second;
    }
  }
  return nodes;
}

// All inspectors are asked at once, so that nodes that are silent cost one limit together.
ControlAnswer ControlDesk::actors() const {
  TW_ASSIGN(auto nodes, this->nodes());
  TW_ASSIGN(const auto others, answer_of<std::vector<NodeInspector>>(
                                   *system_, "supervisor", supervisor_, inspect_atom::value));
  std::map<std::string, InspectorActor> inspectors = {{head_.name, inspector_}};
  for (const NodeInspector& other : others) inspectors[other.node] = other.actor;
  caf::scoped_actor self(*system_);
  using Answer = decltype(self->request(inspector_, kActorLimit, status_atom::value));
  std::vector<std::pair<NodeStatus*, Answer>> asked;
  for (NodeStatus& node : nodes) {
    if (const auto found = inspectors.find(node.node); found != inspectors.end())
      asked.emplace_back(&node, self->request(found->second, kActorLimit, status_atom::value));
  }
  const Wait wait("their answers", "the inspectors",
                  std::chrono::steady_clock::now() + kActorLimit);
  for (auto& [node, answer] : asked) {
    answer.receive([&](std::vector<ActorStatus>& actors) { node->actors = std::move(actors); },
                   [&](const caf::error&) {
                     node->unheard =
                         "it did not answer within " + std::to_string(kActorLimit.count()) + " s";
                   });
  }
  return nodes;
}

}  // namespace tracewise
