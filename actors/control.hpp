// What an operator asks the head of a run over its door (Channel::kShell), and what it answers:
// JSON texts, so that any build's tool can read them. Plain values; control_desk.hpp answers.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "actors/membership.hpp"
#include "actors/node_registry.hpp"
#include "actors/run_order.hpp"
#include "actors/seat.hpp"
#include "messages/result.hpp"

namespace tracewise {

// The name in the certificate of whoever may ask. Only the run's authority can issue it, so only
// its owner has it; no node is called that.
inline constexpr const char* kOperatorName = "operator";

// What has gone through a seat.
struct SeatWork {
  Seat seat;
  uint64_t in_flight = 0;  // groups
  uint64_t finished = 0;   // groups
  bool operator==(const SeatWork&) const = default;
};

// A node that belongs to the run, or did.
struct NodeStatus {
  std::string node;
  std::string host;  // under which others reach it; empty once it is gone
  NodeState state = NodeState::kReady;
  bool draining = false;        // it gets no new work and leaves when it has none
  std::string reason;           // why it is suspect, lost or has left
  std::vector<SeatWork> seats;  // ascending

  // Of ControlRequest::Kind::kActors.
  std::vector<ActorStatus> actors;  // by name
  std::string unheard;              // why its actors could not be asked; empty: they answered
  bool operator==(const NodeStatus&) const = default;
};

struct ControlRequest {
  enum class Kind : uint8_t {
    kNodes,   // who is there
    kActors,  // the same, and what the actors of each node do and wait for
    kDrain,   // let `node` finish what it has and leave; answered at once
    kStop,    // end the run with a checkpoint, as a signal to it does; answered at once
    kOrder,   // `order`, to the coordinator
  };
  Kind kind = Kind::kNodes;
  std::string node;
  RunOrder order;
  bool operator==(const ControlRequest&) const = default;
};

// The nodes after the request, the head first, then by name; or why it was refused.
using ControlAnswer = Result<std::vector<NodeStatus>>;

std::string to_text(const ControlRequest& request);
std::string to_text(const ControlAnswer& answer);
// The JSON of `nodes` alone, for people's scripts.
std::string nodes_json(const std::vector<NodeStatus>& nodes);

// kBadInput: it is none that this build knows.
[[nodiscard]] Result<ControlRequest> control_request(std::string_view text);
[[nodiscard]] ControlAnswer control_answer(std::string_view text);

}  // namespace tracewise
