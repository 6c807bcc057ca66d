#include "launch/cluster_options.hpp"

#include <set>

#include "actors/control.hpp"

namespace tracewise {
namespace {

std::string node_conflict(const NodeSpec& node, Topology topology) {
  const Seats& seats = node.seats;
  if (node.name.empty()) return "a node has no name";
  if (is_reserved_name(node.name)) return "node " + node.name + " needs another name";
  if (seats.generators + seats.tracers + seats.builders + seats.ranks == 0)
    return "node " + node.name + " has no generators, tracers, builders or ranks";
  if (!node.rank_device.empty() && seats.ranks == 0)
    return "node " + node.name + " has rank_device " + node.rank_device + " but no ranks";
  if (!node.devices.empty() && node.devices.size() != seats.generators) {
    return "node " + node.name + " has " + std::to_string(node.devices.size()) + " devices for " +
           std::to_string(seats.generators) + " generators";
  }
  const bool here = node.host.empty() || node.host == "localhost" || node.host == "::1" ||
                    node.host.starts_with("127.");
  if (topology == Topology::kLocal && !here) {
    return "node " + node.name + " has host " + node.host +
           ", but topology local starts all nodes on this machine; topology ssh reaches others";
  }
  if (topology == Topology::kSsh && node.host.empty()) return "node " + node.name + " has no host";
  return {};
}

}  // namespace

const char* to_string(Topology topology) {
  switch (topology) {
    case Topology::kInProcess:
      return "in_process";
    case Topology::kLocal:
      return "local";
    case Topology::kSsh:
      return "ssh";
    case Topology::kSlurm:
      return "slurm";
  }
  return "";
}

Seats all_seats(const ClusterOptions& cluster) {
  Seats all = cluster.head.seats;
  for (const NodeSpec& node : cluster.nodes) {
    all.generators += node.seats.generators;
    all.tracers += node.seats.tracers;
    all.builders += node.seats.builders;
    all.ranks += node.seats.ranks;
  }
  return all;
}

bool is_reserved_name(const std::string& name) {
  return name == kHeadName || name == kOperatorName || name == "node" || name == "launch" ||
         name == "job";
}

std::string cluster_conflict(const ClusterOptions& cluster) {
  const MembershipOptions& m = cluster.membership;
  if (m.heartbeat_ms >= m.suspect_ms || m.suspect_ms >= m.lost_ms)
    return "heartbeat_ms < suspect_ms < lost_ms must hold";
  if (cluster.topology == Topology::kInProcess) {
    return cluster.nodes.empty() ? "" : "in_process has no other nodes; take local, ssh or slurm";
  }
  std::set<std::string> names;
  for (const NodeSpec& node : cluster.nodes) {
    const std::string conflict = node_conflict(node, cluster.topology);
    if (!conflict.empty()) return conflict;
    if (!names.insert(node.name).second) return "two nodes are called " + node.name;
  }
  std::set<std::pair<std::string, uint16_t>> doors{{cluster.head.host, cluster.head.port}};
  for (const NodeSpec& node : cluster.nodes) {
    if (node.port != 0 && !doors.emplace(node.host, node.port).second) {
      return "node " + node.name + " has port " + std::to_string(node.port) + " of host " +
             node.host + ", which is another node's";
    }
  }
  const Seats all = all_seats(cluster);
  const auto missing = [](uint32_t count, const char* role) {
    return count > 0 ? std::string() : std::string("no node and not the head has a ") + role;
  };
  for (const std::string& sentence :
       {missing(all.generators, "generator"), missing(all.tracers, "tracer"),
        missing(all.builders, "builder")}) {
    if (!sentence.empty()) return sentence;
  }
  return {};
}

}  // namespace tracewise
