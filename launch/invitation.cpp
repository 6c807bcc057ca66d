#include "launch/invitation.hpp"

#include <random>
#include <utility>

#include "launch/build_id.hpp"
#include "launch/placement.hpp"
#include "messages/validate.hpp"

namespace tracewise {

Result<Invitation> invite(const RunContact& run, const std::string& name, int valid_days) {
  if (!is_node_name(name) || is_reserved_name(name)) {
    return bad_input("no node can be called '" + name +
                     "': 1 to 64 letters, digits, '.', '-' and '_', and not one of the names that "
                     "tracewise uses itself");
  }
  const ClusterOptions& cluster = run.config.cluster;
  Invitation invitation;
  TW_ASSIGN(invitation.envelope.identity, run.authority.issue(name, valid_days));
  invitation.envelope.run = run.run;
  invitation.envelope.build = build_id();
  invitation.envelope.door = door_of(cluster, 0);
  if (cluster.topology == Topology::kLocal) invitation.envelope.host = "127.0.0.1";
  // Whether it will have a GPU for NCCL is not known here.
  invitation.envelope.weights.way =
      cluster.weights == WeightsWay::kTcp ? WeightsWay::kTcp : WeightsWay::kAuto;
  invitation.envelope.membership = cluster.membership;
  invitation.envelope.head_wait_ms = cluster.membership.join_ms;
  invitation.head = run.head;
  return invitation;
}

std::string guest_name() {
  std::random_device random;
  std::string name = "guest-";
  for (int i = 0; i < 8; ++i) name += "0123456789abcdef"[random() % 16];
  return name;
}

std::string to_text(const Invitation& invitation) {
  return to_line(invitation.envelope) + to_line(NodeOrder{invitation.head, false});
}

Result<Invitation> invitation_from_text(std::string_view text) {
  const Error none = bad_input("the token is none: tracewise invite RUN makes one");
  const size_t end = text.find('\n');
  if (end == std::string_view::npos) return none;
  auto envelope = envelope_from_line(text.substr(0, end));
  const auto order = order_from_line(text.substr(end + 1));
  if (!envelope.ok() || envelope->head || !order.ok() || !order->head) return none;
  return Invitation{std::move(*envelope), *order->head};
}

}  // namespace tracewise
