#include "actors/watchdog.hpp"

#include <algorithm>
#include <utility>

#include "actors/wait_graph.hpp"

namespace tracewise {
namespace {

std::string sentence(const WaitChain& chain) {
  std::string text;
  for (const std::string& line : lines_of(chain)) text += (text.empty() ? "" : "; ") + line;
  return text;
}

std::string name_of(const WaitLink& link) {
  return link.actor.name + " (" + link.node + ") waits for " + link.wait->who + ": " +
         link.wait->what;
}

}  // namespace

std::vector<std::string> Watchdog::look(const std::vector<NodeStatus>& nodes) {
  const WaitGraph graph(nodes);
  std::vector<std::string> words;
  std::map<std::string, Stall> here;
  const auto found = [&](const std::string& name, Stall stall, const WaitChain& chain,
                         const char* kind) {
    if (!told_.contains(name)) words.push_back(kind + sentence(chain));
    here.emplace(name, std::move(stall));
  };
  for (const WaitLink& link : graph.waits()) {
    if (link.wait->left_seconds > -kGraceSeconds) break;  // the rest has more time
    // The way from this wait on; the actor may have others that began before.
    WaitLink from = link;
    from.actor.waits = {*link.wait};
    const std::string name = name_of(link);
    found("overdue: " + name, {"overdue: " + name, {link.node}}, graph.why(from), "overdue: ");
  }
  for (const WaitChain& cycle : graph.cycles()) {
    double youngest = cycle.links.front().wait->since_seconds;
    Stall stall{"deadlock: ", {}};
    for (const WaitLink& link : cycle.links) {
      youngest = std::min(youngest, link.wait->since_seconds);
      stall.name += (stall.nodes.empty() ? "" : "; ") + name_of(link);
      stall.nodes.insert(link.node);
    }
    const std::string name = stall.name;
    if (youngest >= kCycleSeconds) found(name, std::move(stall), cycle, "deadlock: ");
  }
  // Nothing new is known of a node that is silent.
  const auto stands = [&](const Stall& stall) {
    return std::ranges::any_of(nodes, [&](const NodeStatus& node) {
      return stall.nodes.contains(node.node) && !node.unheard.empty() &&
             node.state != NodeState::kLeft && node.state != NodeState::kLost;
    });
  };
  for (auto& [name, stall] : told_) {
    if (here.contains(name)) continue;
    if (stands(stall)) {
      here.emplace(name, std::move(stall));
    } else {
      words.push_back("no longer " + stall.name);
    }
  }
  told_ = std::move(here);
  return words;
}

}  // namespace tracewise
