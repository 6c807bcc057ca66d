#include "launch/placement_print.hpp"

#include <nlohmann/json.hpp>

#include "launch/text_table.hpp"
#include "messages/check.hpp"

namespace tracewise {
namespace {

std::string command_text(const std::vector<std::string>& argv) {
  std::string text;
  for (const std::string& word : argv) text += (text.empty() ? "" : " ") + shell_word(word);
  return text;
}

std::string devices_text(const PlacedNode& node) {
  std::string text;
  for (const std::string& device : node.devices) text += (text.empty() ? "" : " ") + device;
  if (!node.rank_device.empty()) text += (text.empty() ? "rank " : ", rank ") + node.rank_device;
  return text.empty() ? "-" : text;
}

}  // namespace

std::string placement_table(const Placement& placement,
                            const std::vector<MemoryEstimate>& estimates) {
  TW_CHECK(placement.nodes.size() == estimates.size(), "an estimate for each node");
  std::vector<std::vector<std::string>> rows = {{"node", "host", "port", "generators", "tracers",
                                                 "builders", "ranks", "devices", "weights", "cache",
                                                 "learner", "memory"}};
  std::string commands;
  for (size_t i = 0; i < estimates.size(); ++i) {
    const PlacedNode& node = placement.nodes[i];
    const MemoryEstimate& memory = estimates[i];
    rows.push_back({node.name, node.host.empty() ? "any" : node.host,
                    node.door.port == 0 ? "any" : std::to_string(node.door.port),
                    std::to_string(node.seats.generators), std::to_string(node.seats.tracers),
                    std::to_string(node.seats.builders), std::to_string(node.seats.ranks),
                    devices_text(node), bytes_text(memory.weights), bytes_text(memory.kv_cache),
                    bytes_text(memory.optimizer), bytes_text(memory.total())});
    commands += node.name + ": " + command_text(node.argv) + "\n";
  }
  const std::string weights =
      placement.ranks_serve_weights
          ? "weights over connections: from the head and from each node with a rank\n\n"
          : "";
  return aligned(rows) + "\n" + weights + commands;
}

std::string placement_json(const Placement& placement,
                           const std::vector<MemoryEstimate>& estimates) {
  TW_CHECK(placement.nodes.size() == estimates.size(), "an estimate for each node");
  nlohmann::json nodes = nlohmann::json::array();
  for (size_t i = 0; i < estimates.size(); ++i) {
    const PlacedNode& node = placement.nodes[i];
    const MemoryEstimate& memory = estimates[i];
    nodes.push_back({{"name", node.name},
                     {"host", node.host},
                     {"command", node.argv},
                     {"port", node.door.port},
                     {"seats",
                      {{"generators", node.seats.generators},
                       {"tracers", node.seats.tracers},
                       {"builders", node.seats.builders},
                       {"ranks", node.seats.ranks}}},
                     {"devices", node.devices},
                     {"memory",
                      {{"weights", memory.weights},
                       {"kv_cache", memory.kv_cache},
                       {"optimizer", memory.optimizer}}}});
  }
  return nlohmann::json{{"nodes", nodes}, {"ranks_serve_weights", placement.ranks_serve_weights}}
             .dump(1) +
         "\n";
}

}  // namespace tracewise
