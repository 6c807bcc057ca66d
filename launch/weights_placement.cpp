#include "launch/weights_placement.hpp"

#include <algorithm>

#include "transport/nccl_api.hpp"

namespace tracewise {
namespace {

bool is_gpu(const std::string& device) { return device.starts_with("cuda:"); }

bool is_head(const PlacedNode& node) { return node.name == kHeadName; }

// Of the learner on the head, else of a generator; empty: it has none.
std::string gpu_of(const Config& config, const PlacedNode& node) {
  if (is_head(node)) return is_gpu(config.trainer.device) ? config.trainer.device : "";
  if (node.seats.generators == 0) return "";
  if (node.devices.empty()) return is_gpu(config.engine.device) ? config.engine.device : "";
  const auto gpu = std::ranges::find_if(node.devices, is_gpu);
  return gpu == node.devices.end() ? "" : *gpu;
}

}  // namespace

void place_weights(const Config& config, Placement& placement) {
  const WeightsWay way = config.cluster.weights;
  const bool nccl = is_gpu(config.trainer.device) &&
                    (way == WeightsWay::kNccl || (way == WeightsWay::kAuto && has_nccl()));
  for (PlacedNode& node : placement.nodes) {
    node.weights = {way, nccl ? gpu_of(config, node) : ""};
  }
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
