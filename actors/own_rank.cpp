#include "actors/own_rank.hpp"

#include <utility>

#include "actors/rank_store_actor.hpp"

namespace tracewise {

Result<std::unique_ptr<Trainer>> OwnRank::meet(caf::actor_system& system,
                                               const RankMeeting& meeting, const RunParts& parts,
                                               const Deadlines& deadlines) {
  leave();
  std::set<std::string> peers;
  for (const NodeAddress& node : meeting.nodes) peers.insert(node.name);
  peers.erase(meeting.nodes.at(meeting.rank).name);
  tunnel_ = make_tunnel_(std::move(peers));
  RankGroupOptions options;
  options.rank = static_cast<int>(meeting.rank);
  options.size = static_cast<int>(meeting.nodes.size());
  options.connect_ms = deadlines.collective_ms;
  options.collective_ms = deadlines.collective_ms;
  options.forward = [this, nodes = meeting.nodes](int peer, uint16_t port) {
    const NodeAddress& node = nodes.at(static_cast<size_t>(peer));
    return tunnel_->forward(node.name, node.host, node.port, port);
  };
  return parts.make_rank_trainer(
      std::move(options),
      std::make_shared<MessageRankStore>(system, meeting.store, stop_.get_token()),
      [this](RunParts::EndRanks end) { end_.emplace(stop_.get_token(), std::move(end)); });
}

void OwnRank::leave() {
  end_.reset();
  tunnel_.reset();
}

}  // namespace tracewise
