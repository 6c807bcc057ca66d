#include "launch/weights_placement.hpp"

#include <algorithm>

#include "transport/nccl_api.hpp"

namespace tracewise {
namespace {

bool is_gpu(const std::string& device) { return device.starts_with("cuda:"); }

bool is_head(const PlacedNode& node) { return node.name == kHeadName; }

// The first GPU of generators on `devices`; empty: none.
std::string gpu_of(const Config& config, const std::vector<std::string>& devices) {
  if (devices.empty()) return is_gpu(config.engine.device) ? config.engine.device : "";
  const auto gpu = std::ranges::find_if(devices, is_gpu);
  return gpu == devices.end() ? "" : *gpu;
}

// Of the learner on the head, else of a generator; empty: it has none.
std::string gpu_of(const Config& config, const PlacedNode& node) {
  if (is_head(node)) return is_gpu(config.trainer.device) ? config.trainer.device : "";
  return node.seats.generators == 0 ? "" : gpu_of(config, node.devices);
}

// Whether the learner broadcasts.
bool by_nccl(const Config& config) {
  const WeightsWay way = config.cluster.weights;
  return is_gpu(config.trainer.device) &&
         (way == WeightsWay::kNccl || (way == WeightsWay::kAuto && has_nccl()));
}

}  // namespace

void place_weights(const Config& config, Placement& placement) {
  const bool nccl = by_nccl(config);
  for (PlacedNode& node : placement.nodes) {
    node.weights = {config.cluster.weights, nccl ? gpu_of(config, node) : ""};
  }
  placement.ranks_serve_weights = ranks_serve_weights(config);
}

bool ranks_serve_weights(const Config& config) {
  const ClusterOptions& cluster = config.cluster;
  if (all_seats(cluster).ranks == 0) return false;
  const bool nccl = by_nccl(config);
  return std::ranges::any_of(cluster.nodes, [&](const NodeSpec& node) {
    if (node.seats.generators == 0) return false;
    if (nccl && !gpu_of(config, node.devices).empty()) return false;
    if (cluster.weights != WeightsWay::kAuto) return true;
    // Shared memory, where it is the head's host; Slurm chooses hosts later.
    const bool here = cluster.topology == Topology::kLocal ||
                      (!node.host.empty() && node.host == cluster.head.host);
    return !here;
  });
}

Result<void> check_weights(const Config& config, const Placement& placement) {
  if (config.cluster.weights != WeightsWay::kNccl) return {};
  const std::string asked = "cluster.weights = \"nccl\" ";
  if (!is_gpu(config.trainer.device)) {
    return bad_input(asked + "needs the learner on a GPU, but trainer.device is " +
                     config.trainer.device + "; take auto or tcp");
  }
  for (const PlacedNode& node : placement.nodes) {
    if (is_head(node) || node.seats.generators == 0 || !gpu_of(config, node).empty()) continue;
    return bad_input(asked + "needs a GPU on every node with generators, but node " + node.name +
                     " has none of them on one; take auto or tcp");
  }
  if (has_nccl()) return {};
  return unsupported(asked + "is for builds with CUDA, which this one is not; take auto or tcp");
}

}  // namespace tracewise
