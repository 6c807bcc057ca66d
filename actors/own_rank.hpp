// This process's rank of a learner of several: how it meets the others, and how the node ends that.
#pragma once

#include <caf/fwd.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <stop_token>
#include <string>

#include "actors/run_options.hpp"
#include "actors/run_parts.hpp"
#include "actors/signatures.hpp"
#include "transport/transport.hpp"
#include "transport/tunnel.hpp"

namespace tracewise {

// Makes what serves a rank's weights at its node's door, which outlives it. kResource.
using MakeWeightsSender = std::function<Result<std::unique_ptr<WeightsSender>>()>;

// The rank's thread calls; abort() alone may come from any.
class OwnRank {
 public:
  // Of connections between this node and `peers`.
  using MakeTunnel = std::function<std::unique_ptr<Tunnel>(std::set<std::string> peers)>;

  explicit OwnRank(MakeTunnel make_tunnel) : make_tunnel_(std::move(make_tunnel)) {}

  // The rank's trainer, once all ranks have met. Blocks, for some deadlines.collective_ms. What the
  // ranks say to each other from then on goes through a tunnel of this object, so the trainer dies
  // first.
  [[nodiscard]] Result<std::unique_ptr<Trainer>> meet(caf::actor_system& system,
                                                      const RankMeeting& meeting,
                                                      const RunParts& parts,
                                                      const Deadlines& deadlines);

  // After the trainer's end: gives up the group and its tunnel.
  void leave();

  // Ends the group: the rank's waits fail with kCancelled, those to come too.
  void abort() { stop_.request_stop(); }

 private:
  MakeTunnel make_tunnel_;
  std::stop_source stop_;
  std::unique_ptr<Tunnel> tunnel_;
  std::optional<std::stop_callback<RunParts::EndRanks>> end_;
};

}  // namespace tracewise
