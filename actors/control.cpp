#include "actors/control.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "messages/error_number.hpp"

namespace tracewise {
namespace {

using nlohmann::json;

constexpr const char* kNodes = "nodes";
constexpr const char* kDrain = "drain";

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

json to_json(const NodeStatus& status) {
  json seats = json::array();
  for (const SeatWork& work : status.seats) seats.push_back(to_json(work));
  return {
      {"node", status.node},         {"host", status.host},     {"state", to_string(status.state)},
      {"draining", status.draining}, {"reason", status.reason}, {"seats", seats}};
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
  return status;
}

json to_json(const std::vector<NodeStatus>& nodes) {
  json list = json::array();
  for (const NodeStatus& node : nodes) list.push_back(to_json(node));
  return list;
}

ControlAnswer answer_of(const json& j) {
  if (j.contains("message")) return error_of(j.at("class"), j.at("message").get<std::string>());
  std::vector<NodeStatus> nodes;
  for (const json& node : j.at(kNodes)) nodes.push_back(status_of(node));
  return nodes;
}

}  // namespace

std::string to_text(const ControlRequest& request) {
  const bool drain = request.kind == ControlRequest::Kind::kDrain;
  return text_of({{"ask", drain ? kDrain : kNodes}, {"node", request.node}});
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
    if (asked == kDrain) return ControlRequest{ControlRequest::Kind::kDrain, j.at("node")};
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
