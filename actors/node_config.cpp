#include "actors/node_config.hpp"

#include <caf/atom.hpp>
#include <typeinfo>

#include "actors/wire.hpp"

namespace tracewise {
namespace {

// Both sides of a connection use the same names, because they are the same build.
template <class... Types>
void announce(caf::actor_system_config& config) {
  (config.add_message_type<Types>(typeid(Types).name()), ...);
}

}  // namespace

NodeConfig::NodeConfig() {
  set("scheduler.policy", caf::atom("sharing"));
  set("scheduler.max-threads", size_t{2});
  // Every type that is an element of a message between nodes: one that is missing here would arrive
  // as an empty message.
  announce<GroupTask, WeightsAnnouncement, WeightsDelivered, SampleGroup, GroupFailed, Commit,
           std::vector<std::string>, std::vector<GroupKey>, std::vector<uint64_t>,
           std::vector<ProbeRequest>, std::vector<ProbeResult>, std::vector<Rollout>,
           std::vector<TracedRollout>, std::vector<GroupParcel>, std::vector<LoggedRollout>,
           std::vector<ActorStatus>, InspectorReport, Outcome, SaveRequest, SaveReply, Seat,
           EngineStats, Peers, NodeAddress, NodeOffer, Welcome, Hired, RankMeeting, RankOffer,
           WeightsManifest, std::vector<SampleGroup>>(*this);
}

}  // namespace tracewise
