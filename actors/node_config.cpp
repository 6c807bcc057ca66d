#include "actors/node_config.hpp"

#include <caf/atom.hpp>

#include "actors/wire.hpp"

namespace tracewise {
namespace {

// Every type that is an element of a message between nodes. Both sides of a connection have the
// same list, because they are the same build.
#define TRACEWISE_MESSAGE_TYPES(X)                                                           \
  X(GroupTask)                                                                               \
  X(WeightsReady) X(WeightsDelivered) X(SampleGroup) X(GroupFailed) X(Commit)                \
      X(std::vector<GroupKey>) X(std::vector<uint64_t>) X(std::vector<ProbeRequest>)         \
          X(std::vector<ProbeResult>) X(std::vector<Rollout>) X(std::vector<TracedRollout>)  \
              X(std::vector<GroupParcel>) X(std::vector<LoggedRollout>)                      \
                  X(std::vector<ActorStatus>) X(Outcome) X(SaveRequest) X(SaveReply) X(Seat) \
                      X(EngineStats) X(Peers) X(NodeAddress) X(NodeOffer) X(Welcome) X(Hired)

}  // namespace

NodeConfig::NodeConfig() {
  set("scheduler.policy", caf::atom("sharing"));
  set("scheduler.max-threads", size_t{2});
#define TRACEWISE_ANNOUNCE(T) add_message_type<T>(#T);
  TRACEWISE_MESSAGE_TYPES(TRACEWISE_ANNOUNCE)
#undef TRACEWISE_ANNOUNCE
}

}  // namespace tracewise
