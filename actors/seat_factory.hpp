// Makes the actors of a node's seats: the same on the head and on every other node.
#pragma once

#include <caf/fwd.hpp>
#include <memory>

#include "actors/node_services.hpp"
#include "actors/own_rank.hpp"
#include "actors/receivers.hpp"
#include "actors/run_options.hpp"
#include "actors/run_parts.hpp"
#include "actors/signatures.hpp"

namespace tracewise {

struct SeatFactory {
  caf::actor_system* system = nullptr;     // outlives the factory
  std::shared_ptr<NodeServices> services;  // shared with the node's actors
  std::shared_ptr<const RunParts> parts;   // likewise
  std::shared_ptr<Receivers> receivers;    // likewise
  std::shared_ptr<OwnRank> own_rank;       // likewise
  MakeWeightsSender make_rank_sender;
  RunOptions options;
  SupervisorActor supervisor;  // whom the actors report to

  // Any thread may call. The actor has still to be started.
  Hired hire(const Seat& seat) const;
};

}  // namespace tracewise
