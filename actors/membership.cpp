#include "actors/membership.hpp"

#include <algorithm>
#include <set>
#include <utility>

namespace tracewise {
namespace {

std::string in_ms(std::chrono::steady_clock::duration time) {
  return std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(time).count()) +
         " ms";
}

}  // namespace

const char* to_string(NodeState state) {
  switch (state) {
    case NodeState::kJoining:
      return "joining";
    case NodeState::kReady:
      return "ready";
    case NodeState::kSuspect:
      return "suspect";
    case NodeState::kLost:
      return "lost";
    case NodeState::kLeft:
      return "left";
  }
  return "";
}

Result<void> check(const MembershipOptions& o) {
  const auto above = [](const char* name, int64_t value, int64_t least,
                        const std::string& what) -> Result<void> {
    if (value > least) return {};
    return bad_input(std::string(name) + " = " + std::to_string(value) +
                     " is out of range: more than " + what + " is needed");
  };
  const auto named = [](const char* name, int64_t value) {
    return std::string(name) + " = " + std::to_string(value);
  };
  TW_TRY(above("cluster.heartbeat_ms", o.heartbeat_ms, 0, "0"));
  TW_TRY(above("cluster.suspect_ms", o.suspect_ms, o.heartbeat_ms,
               named("cluster.heartbeat_ms", o.heartbeat_ms)));
  TW_TRY(
      above("cluster.lost_ms", o.lost_ms, o.suspect_ms, named("cluster.suspect_ms", o.suspect_ms)));
  return above("cluster.join_ms", o.join_ms, 0, "0");
}

bool Membership::join(const std::string& node, TimePoint now) {
  const auto found = nodes_.find(node);
  if (found != nodes_.end() && found->second.state != NodeState::kJoining) return false;
  nodes_[node] = {NodeState::kJoining, now, now, {}, false};
  gone_.erase(node);
  return true;
}

bool Membership::ready(const std::string& node, TimePoint now, bool has_rank) {
  const auto found = nodes_.find(node);
  if (found == nodes_.end() || found->second.state != NodeState::kJoining) return false;
  found->second = {NodeState::kReady, now, now, {}, has_rank};
  // What the others lacked was a link with who had the name before.
  for (auto& [name, other] : nodes_) other.parted.erase(node);
  return true;
}

std::optional<Membership::Change> Membership::heard(const std::string& node, TimePoint now,
                                                    const std::vector<std::string>& parted) {
  const auto found = nodes_.find(node);
  if (found == nodes_.end()) return std::nullopt;
  found->second.heard = now;
  std::map<std::string, TimePoint> since;
  for (const std::string& other : parted) {
    const auto before = found->second.parted.find(other);
    since[other] = before == found->second.parted.end() ? now : before->second;
  }
  found->second.parted = std::move(since);
  if (found->second.state != NodeState::kSuspect) return std::nullopt;
  found->second.state = NodeState::kReady;
  return Change{node, NodeState::kReady, ""};
}

Membership::Change Membership::end(Change change) {
  nodes_.erase(change.node);
  return gone_[change.node] = std::move(change);
}

// Of the nodes without a rank the one that lacks the most links is the one to go; then the first by
// name.
std::optional<Membership::Change> Membership::lose_parted(TimePoint now) {
  std::map<std::string, std::set<std::string>> lacking;
  for (const auto& [name, node] : nodes_) {
    for (const auto& [other, since] : node.parted) {
      const auto found = nodes_.find(other);
      if (node.state != NodeState::kReady || found == nodes_.end() ||
          found->second.state != NodeState::kReady ||
          now - since < std::chrono::milliseconds(options_.suspect_ms))
        continue;
      lacking[name].insert(other);
      lacking[other].insert(name);
    }
  }
  const auto worst =
      std::max_element(lacking.begin(), lacking.end(), [this](const auto& a, const auto& b) {
        const auto rank = [this](const auto& x) { return nodes_.at(x.first).has_rank; };
        return std::pair(!rank(a), a.second.size()) < std::pair(!rank(b), b.second.size());
      });
  if (worst == lacking.end()) return std::nullopt;
  return end({worst->first, NodeState::kLost,
              "its connection with node " + *worst->second.begin() + " broke"});
}

std::optional<Membership::Change> Membership::lose(const std::string& node, std::string reason) {
  if (nodes_.count(node) == 0) return std::nullopt;
  return end({node, NodeState::kLost, std::move(reason)});
}

std::optional<Membership::Change> Membership::leave(const std::string& node, std::string reason) {
  if (nodes_.count(node) == 0) return std::nullopt;
  return end({node, NodeState::kLeft, std::move(reason)});
}

std::vector<Membership::Change> Membership::tick(TimePoint now) {
  using std::chrono::milliseconds;
  std::vector<Change> changes;
  for (auto it = nodes_.begin(); it != nodes_.end();) {
    Node& node = it->second;
    const auto silent = now - node.heard;
    if (node.state == NodeState::kJoining) {
      if (now - node.since >= milliseconds(options_.join_ms)) {
        changes.push_back({it->first, NodeState::kLost,
                           "it was not ready within " + std::to_string(options_.join_ms) +
                               " ms (cluster.join_ms)"});
      }
    } else if (silent >= milliseconds(options_.lost_ms)) {
      changes.push_back({it->first, NodeState::kLost,
                         "it was silent for " + in_ms(silent) + " (cluster.lost_ms is " +
                             std::to_string(options_.lost_ms) + ")"});
    } else if (node.state == NodeState::kReady && silent >= milliseconds(options_.suspect_ms)) {
      node.state = NodeState::kSuspect;
      changes.push_back({it->first, NodeState::kSuspect, "it is silent for " + in_ms(silent)});
    }
    const bool lost = !changes.empty() && changes.back().node == it->first &&
                      changes.back().state == NodeState::kLost;
    ++it;
    if (lost) end(changes.back());
  }
  if (auto change = lose_parted(now)) changes.push_back(std::move(*change));
  return changes;
}

std::optional<NodeState> Membership::state(const std::string& node) const {
  const auto found = nodes_.find(node);
  if (found == nodes_.end()) return std::nullopt;
  return found->second.state;
}

std::vector<std::string> Membership::nodes() const {
  std::vector<std::string> names;
  for (const auto& [name, node] : nodes_) names.push_back(name);
  return names;
}

}  // namespace tracewise
