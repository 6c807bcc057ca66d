#include "launch/nodes_table.hpp"

#include "launch/text_table.hpp"

namespace tracewise {
namespace {

std::string state_text(const NodeStatus& node) {
  const std::string state = to_string(node.state);
  return node.draining ? state + ", draining" : state;
}

}  // namespace

std::string nodes_table(const std::vector<NodeStatus>& nodes) {
  std::vector<std::vector<std::string>> rows = {
      {"node", "state", "host", "seat", "in flight", "finished"}};
  for (const NodeStatus& node : nodes) {
    std::vector<std::string> row = {node.node, state_text(node), node.host};
    if (node.seats.empty()) rows.push_back({row[0], row[1], row[2], node.reason, "", ""});
    for (const SeatWork& work : node.seats) {
      rows.push_back({row[0], row[1], row[2], name_of(work.seat), std::to_string(work.in_flight),
                      std::to_string(work.finished)});
      row = {"", "", ""};  // told once
    }
  }
  return aligned(rows);
}

}  // namespace tracewise
