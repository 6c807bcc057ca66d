#include "launch/preflight.hpp"

#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>

#include "launch/weights_placement.hpp"
#include "transport/resolve.hpp"
#include "transport/socket.hpp"

namespace tracewise {
namespace {

constexpr std::chrono::seconds kResolveLimit{10};

Result<void> check_port(const PlacedNode& node) {
  if (!node.door.fixed_port) return {};
  const auto free = listen_on(node.door.address, node.door.port, node.door.port);
  if (free.ok()) return {};
  return Error{free.error().error_class, node.name + ": " + free.error().message};
}

}  // namespace

LaunchHost launch_host() {
  std::error_code failure;
  LaunchHost here;
  here.binary = std::filesystem::read_symlink("/proc/self/exe", failure).string();
  char name[256] = {};
  here.host_name = ::gethostname(name, sizeof name - 1) == 0 ? name : "localhost";
  return here;
}

bool lacks_allocation(const Config& config) {
  return config.cluster.topology == Topology::kSlurm && std::getenv("SLURM_JOB_ID") == nullptr;
}

Result<void> check_launch(const Config& config, const Placement& placement) {
  TW_TRY(check_training(config));
  TW_TRY(check_weights(config, placement));
  const Topology topology = config.cluster.topology;
  const TimePoint deadline = std::chrono::steady_clock::now() + kResolveLimit;
  for (const PlacedNode& node : placement.nodes) {
    if (node.reached_as.empty()) continue;
    const auto found = resolve(node.reached_as, 0, deadline, {});
    if (!found.ok())
      return Error{found.error().error_class, "node " + node.name + ": " + found.error().message};
    const bool here = topology == Topology::kLocal || node.name == kHeadName;
    if (here) TW_TRY(check_port(node));
  }
  return {};
}

}  // namespace tracewise
