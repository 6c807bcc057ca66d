#include "actors/wait_graph.hpp"

#include <algorithm>
#include <cstdio>
#include <map>
#include <set>

namespace tracewise {
namespace {

// As the actors name nodes in their waits.
const std::string kNodePrefix = "node ";

std::string seconds_text(double seconds) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f s", seconds);
  return text;
}

std::string full_name(const WaitLink& link) { return link.node + "/" + link.actor.name; }

bool is_same(const WaitLink& a, const WaitLink& b) {
  return a.node == b.node && a.actor.name == b.actor.name;
}

}  // namespace

std::vector<WaitLink> WaitGraph::find(const std::string& name) const {
  std::vector<WaitLink> found;
  for (const NodeStatus& node : nodes_) {
    for (const ActorStatus& actor : node.actors) {
      if (actor.name == name || node.node + "/" + actor.name == name)
        found.push_back({node.node, actor, {}});
    }
  }
  return found;
}

std::vector<std::string> WaitGraph::names() const {
  std::map<std::string, int> count;
  for (const NodeStatus& node : nodes_)
    for (const ActorStatus& actor : node.actors) ++count[actor.name];
  std::vector<std::string> names;
  for (const NodeStatus& node : nodes_) {
    for (const ActorStatus& actor : node.actors)
      names.push_back(count[actor.name] == 1 ? actor.name : node.node + "/" + actor.name);
  }
  return names;
}

std::vector<WaitLink> WaitGraph::waits() const {
  std::multimap<double, WaitLink> by_left;
  for (const NodeStatus& node : nodes_) {
    for (const ActorStatus& actor : node.actors) {
      for (const WaitStatus& wait : actor.waits)
        by_left.emplace(wait.left_seconds, WaitLink{node.node, actor, wait});
    }
  }
  std::vector<WaitLink> all;
  for (auto& [left, link] : by_left) all.push_back(std::move(link));
  return all;
}

// Names that several nodes have (an agent's) mean the waiting actor's own node.
std::optional<WaitLink> WaitGraph::awaited(const WaitLink& by) const {
  const std::vector<WaitLink> found = find(by.wait->who);
  const auto here = std::ranges::find(found, by.node, &WaitLink::node);
  if (here != found.end()) return *here;
  if (found.size() == 1) return found.front();
  return busiest_thread(by);
}

// "verifier of tracer 0" is threads, "verifier of tracer 0 1" and so on: the one that has waited
// longest.
std::optional<WaitLink> WaitGraph::busiest_thread(const WaitLink& by) const {
  std::optional<WaitLink> longest;
  double longest_seconds = -1;
  for (const NodeStatus& node : nodes_) {
    if (node.node != by.node) continue;
    for (const ActorStatus& thread : node.actors) {
      if (thread.role != "thread" || !thread.name.starts_with(by.wait->who + " ")) continue;
      double seconds = 0;
      for (const WaitStatus& wait : thread.waits) seconds = std::max(seconds, wait.since_seconds);
      if (seconds <= longest_seconds) continue;
      longest_seconds = seconds;
      longest = WaitLink{node.node, thread, {}};
    }
  }
  return longest;
}

std::string WaitGraph::note_of(const std::string& who) const {
  const auto has_seat = [&](const NodeStatus& node) {
    return std::ranges::any_of(node.seats,
                               [&](const SeatWork& work) { return name_of(work.seat) == who; });
  };
  for (const NodeStatus& node : nodes_) {
    const bool seat = has_seat(node);
    if (!seat && who != kNodePrefix + node.node) continue;
    std::string note = seat ? who + " is on node " + node.node + ", which is " : who + " is ";
    note += to_string(node.state);
    if (!node.reason.empty()) note += ": " + node.reason;
    if (!node.unheard.empty()) note += "; its actors could not be asked: " + node.unheard;
    return note;
  }
  return who + " is no actor of the run";
}

WaitChain WaitGraph::why(const WaitLink& from) const {
  WaitChain chain;
  WaitLink link = from;
  for (;;) {
    link.wait.reset();
    for (const WaitStatus& wait : link.actor.waits) {
      if (!link.wait || wait.since_seconds > link.wait->since_seconds) link.wait = wait;
    }
    chain.links.push_back(link);
    if (!link.wait) return chain;
    const auto next = awaited(link);
    if (!next) {
      chain.end = WaitChain::End::kOutside;
      chain.note = note_of(link.wait->who);
      return chain;
    }
    if (std::ranges::any_of(chain.links, [&](const WaitLink& l) { return is_same(l, *next); })) {
      chain.end = WaitChain::End::kCycle;
      return chain;
    }
    link = *next;
  }
}

std::vector<WaitChain> WaitGraph::cycles() const {
  std::vector<WaitChain> cycles;
  std::set<std::string> seen;
  std::vector<WaitLink> all;
  for (const NodeStatus& node : nodes_)
    for (const ActorStatus& actor : node.actors) all.push_back({node.node, actor, {}});
  std::ranges::sort(all, {}, full_name);
  for (const WaitLink& from : all) {
    if (seen.contains(full_name(from))) continue;
    const WaitChain chain = why(from);
    if (chain.end != WaitChain::End::kCycle) continue;
    // What leads into the cycle is not of it.
    const auto closes = awaited(chain.links.back());
    if (!is_same(*closes, from)) continue;
    for (const WaitLink& link : chain.links) seen.insert(full_name(link));
    cycles.push_back(chain);
  }
  return cycles;
}

std::vector<std::string> lines_of(const WaitChain& chain) {
  std::vector<std::string> lines;
  for (const WaitLink& link : chain.links) {
    std::string line = link.actor.name + " (" + link.node + ")";
    if (link.wait) {
      const double left = link.wait->left_seconds;
      line += " waits for " + link.wait->who + ": " + link.wait->what + "; for " +
              seconds_text(link.wait->since_seconds) +
              (left < 0 ? ", overdue by " + seconds_text(-left)
                        : ", at most " + seconds_text(left) + " more");
    } else {
      line += " waits for nobody: " + link.actor.state + " for " +
              seconds_text(link.actor.state_seconds) + ", " + std::to_string(link.actor.mailbox) +
              " messages waiting";
    }
    lines.push_back(std::move(line));
  }
  if (chain.end == WaitChain::End::kCycle) {
    // A message that is on its way may end what has just begun.
    double youngest = chain.links.back().wait->since_seconds;
    for (const WaitLink& link : chain.links)
      youngest = std::min(youngest, link.wait->since_seconds);
    lines.push_back("these wait for each other, all of them for " + seconds_text(youngest) +
                    ": if that lasts, nobody will go on");
  }
  if (chain.end == WaitChain::End::kOutside) lines.push_back(chain.note);
  return lines;
}

}  // namespace tracewise
