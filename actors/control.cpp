#include "actors/control.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "messages/error_number.hpp"

namespace tracewise {
namespace {

using nlohmann::json;

constexpr const char* kNodes = "nodes";
constexpr const char* kActors = "actors";
constexpr const char* kDrain = "drain";
constexpr const char* kStop = "stop";
constexpr const char* kOrder = "order";

std::string text_of(const json& j, int indent = -1) {
  return j.dump(indent, ' ', false, json::error_handler_t::replace);
}

template <class Enum>
Enum named(const std::string& name, std::initializer_list<Enum> all,
           const char* (*name_of)(Enum value)) {
  const auto* found =
      std::find_if(all.begin(), all.end(), [&](Enum value) { return name == name_of(value); });
  if (found == all.end()) throw json::other_error::create(501, "unknown name", nullptr);
  return *found;
}

const char* role_name(Role role) { return name_of(role); }
const char* state_name(NodeState state) { return to_string(state); }

json to_json(const SeatWork& work) {
  return {{"role", name_of(work.seat.role)},
          {"number", work.seat.number},
          {"in_flight", work.in_flight},
          {"finished", work.finished}};
}

SeatWork work_of(const json& j) {
  const Role role = named<Role>(
      j.at("role"), {Role::kGenerator, Role::kTracer, Role::kBuilder, Role::kRank}, role_name);
  return {{role, j.at("number")}, j.at("in_flight"), j.at("finished")};
}

json to_json(const ActorStatus& actor) {
  json waits = json::array();
  for (const WaitStatus& wait : actor.waits) {
    waits.push_back({{"who", wait.who},
                     {"what", wait.what},
                     {"since_seconds", wait.since_seconds},
                     {"left_seconds", wait.left_seconds}});
  }
  return {{"name", actor.name},
          {"role", actor.role},
          {"state", actor.state},
          {"state_seconds", actor.state_seconds},
          {"mailbox", actor.mailbox},
          {"handled", actor.handled},
          {"waits", waits}};
}

ActorStatus actor_of(const json& j) {
  ActorStatus actor{j.at("name"),
                    j.at("role"),
                    j.at("state"),
                    j.at("state_seconds"),
                    j.at("mailbox"),
                    j.at("handled"),
                    {}};
  for (const json& wait : j.at("waits"))
    actor.waits.push_back(
        {wait.at("who"), wait.at("what"), wait.at("since_seconds"), wait.at("left_seconds")});
  return actor;
}

// Actors only where they were asked.
json to_json(const NodeStatus& status) {
  json seats = json::array();
  for (const SeatWork& work : status.seats) seats.push_back(to_json(work));
  json j = {
      {"node", status.node},         {"host", status.host},     {"state", to_string(status.state)},
      {"draining", status.draining}, {"reason", status.reason}, {"seats", seats}};
  for (const ActorStatus& actor : status.actors) j[kActors].push_back(to_json(actor));
  if (!status.unheard.empty()) j["unheard"] = status.unheard;
  return j;
}

NodeStatus status_of(const json& j) {
  NodeStatus status;
  status.node = j.at("node");
  status.host = j.at("host");
  status.state = named<NodeState>(j.at("state"),
                                  {NodeState::kJoining, NodeState::kReady, NodeState::kSuspect,
                                   NodeState::kLost, NodeState::kLeft},
                                  state_name);
  status.draining = j.at("draining");
  status.reason = j.at("reason");
  for (const json& seat : j.at("seats")) status.seats.push_back(work_of(seat));
  for (const json& actor : j.value(kActors, json::array()))
    status.actors.push_back(actor_of(actor));
  status.unheard = j.value("unheard", "");
  return status;
}

json to_json(const std::vector<NodeStatus>& nodes) {
  json list = json::array();
  for (const NodeStatus& node : nodes) list.push_back(to_json(node));
  return list;
}

const char* name_of(ControlRequest::Kind kind) {
  switch (kind) {
    case ControlRequest::Kind::kNodes:
      return kNodes;
    case ControlRequest::Kind::kActors:
      return kActors;
    case ControlRequest::Kind::kDrain:
      return kDrain;
    case ControlRequest::Kind::kStop:
      return kStop;
    case ControlRequest::Kind::kOrder:
      return kOrder;
  }
  return kNodes;
}

const char* order_name(RunOrder::Kind kind) { return to_string(kind); }

RunOrder order_of(const json& j) {
  using Kind = RunOrder::Kind;
  const Kind kind = named<Kind>(
      j.at("kind"),
      {Kind::kPause, Kind::kResume, Kind::kCheckpoint, Kind::kEvaluate, Kind::kStopAfter},
      order_name);
  return {kind, j.at("step")};
}

ControlAnswer answer_of(const json& j) {
  if (j.contains("message")) return error_of(j.at("class"), j.at("message").get<std::string>());
  std::vector<NodeStatus> nodes;
  for (const json& node : j.at(kNodes)) nodes.push_back(status_of(node));
  return nodes;
}

}  // namespace

std::string to_text(const ControlRequest& request) {
  json j = {{"ask", name_of(request.kind)}, {"node", request.node}};
  if (request.kind == ControlRequest::Kind::kOrder)
    j[kOrder] = {{"kind", to_string(request.order.kind)}, {"step", request.order.step}};
  return text_of(j);
}

std::string to_text(const ControlAnswer& answer) {
  if (answer.ok()) return text_of({{kNodes, to_json(*answer)}});
  const Error& error = answer.error();
  return text_of({{"class", static_cast<int>(error.error_class)}, {"message", error.message}});
}

std::string nodes_json(const std::vector<NodeStatus>& nodes) {
  return text_of({{kNodes, to_json(nodes)}}, 1) + "\n";
}

Result<ControlRequest> control_request(std::string_view text) {
  try {
    const json j = json::parse(text);
    const std::string asked = j.at("ask");
    if (asked == kNodes) return ControlRequest{};
    if (asked == kActors) return ControlRequest{ControlRequest::Kind::kActors, "", {}};
    if (asked == kStop) return ControlRequest{ControlRequest::Kind::kStop, "", {}};
    if (asked == kDrain) return ControlRequest{ControlRequest::Kind::kDrain, j.at("node"), {}};
    if (asked == kOrder)
      return ControlRequest{ControlRequest::Kind::kOrder, "", order_of(j.at(kOrder))};
  } catch (const json::exception&) {
    // Told below, as is a request that is well formed but unknown.
  }
  return bad_input("the head does not know this request");
}

ControlAnswer control_answer(std::string_view text) {
  try {
    return answer_of(json::parse(text));
  } catch (const json::exception&) {
    return bad_input("the head's answer cannot be read");
  }
}

}  // namespace tracewise
