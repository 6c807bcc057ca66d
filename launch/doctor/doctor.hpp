// Looks at every host of a cluster config before a run depends on it: starts this program there in
// the way that the launcher would (placement.hpp), asks what there is, and lets the hosts find each
// other's doors. Nothing of the run is started, and nothing is left behind.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "launch/doctor/host_report.hpp"
#include "launch/placement.hpp"

namespace tracewise {

// The clock of a host against ours: it is ahead by between `least` and `most` seconds.
struct ClockSkew {
  double least = 0;
  double most = 0;
};

// A host, whatever the number of nodes that it would have, and what it was found to be.
struct HostVisit {
  std::string host;  // as the config calls it; "any": Slurm chooses
  std::vector<PlacedNode> nodes;
  bool is_here = false;  // where the launcher, and with it the head, runs
  std::string name;      // in its door's certificate

  std::optional<HostHello> hello;
  std::optional<ClockSkew> clock;
  std::optional<HostReport> report;
  std::optional<HostReached> reached;
  std::string failure;  // why one of them is missing
};

// The hosts of `placement`, the launching one first, none of them visited yet.
std::vector<HostVisit> hosts_of(const Placement& placement);

struct DoctorSetup {
  std::string config;                       // TOML, resolved
  std::chrono::milliseconds limit{60'000};  // until every host has reported
  // Called with the hosts that are still waited for, every few seconds. May be empty.
  std::function<void(const std::vector<std::string>&)> on_wait;
};

// Visits all hosts at the same time. Blocks for `limit`, and 10 s in which they look for each
// other. Errors are this machine's own: no process, no key. The process must have no other
// children (process_group.hpp).
[[nodiscard]] Result<void> visit(std::vector<HostVisit>& hosts, const DoctorSetup& setup);

}  // namespace tracewise
