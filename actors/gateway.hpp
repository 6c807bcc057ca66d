// A node's way to the others: its door, and the links that come through it or that it makes.
#pragma once

#include <caf/fwd.hpp>
#include <memory>
#include <mutex>
#include <set>
#include <stop_token>
#include <string>
#include <vector>

#include "actors/cluster.hpp"
#include "actors/links.hpp"
#include "actors/node_services.hpp"
#include "transport/door.hpp"
#include "transport/nccl_member.hpp"
#include "transport/nccl_sender.hpp"
#include "transport/node_weights.hpp"
#include "transport/requests.hpp"
#include "transport/transport.hpp"
#include "transport/tunnel.hpp"

namespace tracewise {

// Any thread may call. Destroy it before the actor system.
class Gateway {
 public:
  // Opens the door. Refusals, and failures of NCCL, are written to `log`.
  [[nodiscard]] static Result<std::unique_ptr<Gateway>> open(const NodeSetup& setup,
                                                             std::shared_ptr<NodeLog> log);
  ~Gateway();

  // Lets connections for actors in; a run of one node does without. `front` is whom they talk to
  // first; may be null.
  void serve(caf::actor_system& system, caf::strong_actor_ptr front);

  // Has operators' requests answered. kResource.
  [[nodiscard]] Result<void> serve_requests(RequestServer::Answer answer);

  // Lets nobody in any more and lets the front go; links stay as they are. A request that is being
  // answered is waited for.
  void withdraw();

  // Makes a link with another node and gives its front.
  [[nodiscard]] Result<caf::strong_actor_ptr> reach(const NodeAddress& node, TimePoint deadline,
                                                    const std::stop_token& stop);

  // The learner's and a generator's side of weights between nodes. The sender serves at the door:
  // it dies before the gateway. Both do without NCCL where it cannot be used, and say so in the
  // log, unless it was asked for: then there is no sender. `state_chunks`: other ranks of the
  // learner offer the same versions, with the sender of make_rank_sender(), which has no NCCL.
  [[nodiscard]] Result<std::unique_ptr<WeightsSender>> make_sender(bool state_chunks);
  [[nodiscard]] Result<std::unique_ptr<WeightsSender>> make_rank_sender();
  std::unique_ptr<WeightsReceiver> make_receiver();

  // Carries connections between this node and `peers`. It dies before the gateway.
  std::unique_ptr<Tunnel> make_tunnel(std::set<std::string> peers);

  void cut(const std::string& node);
  // As those of Links.
  [[nodiscard]] bool wait_alone(TimePoint until) { return !links_ || links_->wait_alone(until); }
  std::vector<std::string> parted() const { return links_->parted(); }
  void forget_parted() { links_->forget_parted(); }
  NodeAddress address() const;  // of this node

 private:
  Gateway(const NodeSetup& setup, TlsContext context, std::shared_ptr<NodeLog> log);
  NodeSenderOptions sender_options() const;
  [[nodiscard]] Result<std::unique_ptr<NcclSender>> make_nccl_sender();
  [[nodiscard]] Result<std::shared_ptr<NcclMember>> make_nccl_member();

  NodeSetup setup_;
  TlsContext context_;
  std::shared_ptr<NodeLog> log_;  // shared with whoever else writes to it
  std::once_flag nccl_begun_;
  std::shared_ptr<NcclMember> nccl_;  // shared with the receivers; null: none
  // Before the door, whose handlers use them.
  std::unique_ptr<Links> links_;
  std::unique_ptr<RequestServer> requests_;
  std::unique_ptr<Door> door_;
};

}  // namespace tracewise
