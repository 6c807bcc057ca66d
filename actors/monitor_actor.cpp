#include "actors/monitor_actor.hpp"

#include <set>

namespace tracewise {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kPause{250};
// Looks between two questions to the nodes.
constexpr int kLooks = 2;
// Within which a node's inspector answers. What it said before is good until then.
constexpr milliseconds kAnswer{2000};

}  // namespace

MonitorShell::behavior_type MonitorShell::make_behavior() {
  set_state("watching");
  auto timeline = Timeline::open(setup_.timeline, Database::Mode::kReadWrite);
  if (timeline.ok()) {
    timeline_ = std::move(*timeline);
  } else {
    services().log->warn("there is no timeline: " + timeline.error().message);
  }
  delayed_send(self(), kPause, tick_atom::value);
  return {[this](tick_atom) {
    seen();
    look();
    if (looks_++ % kLooks == 0) ask_nodes();
    delayed_send(self(), kPause, tick_atom::value);
  }};
}

// What the head's actors did last would be missed otherwise.
void MonitorShell::let_go() {
  keep(setup_.head, services().registry.take_spans(now()));
  timeline_.reset();
  setup_.supervisor = SupervisorActor{};
}

void MonitorShell::keep(const std::string& node, const std::vector<Span>& spans) {
  if (timeline_ == nullptr) return;
  const double time = setup_.wall_time + std::chrono::duration<double>(now() - begun_).count();
  const Result<void> kept = timeline_->add(node, spans, time);
  if (kept.ok()) return;
  services().log->warn("the timeline ends here: " + kept.error().message);
  timeline_.reset();
}

void MonitorShell::ask_nodes() {
  if (std::exchange(asked_, true)) return;
  const auto late = [this](caf::error&) { asked_ = false; };
  request(setup_.supervisor, kAnswer, status_atom::value)
      .then(
          [this, late](std::vector<NodeStatus>& nodes) {
            nodes.front().node = setup_.head;
            nodes_ = std::move(nodes);
            request(setup_.supervisor, kAnswer, inspect_atom::value)
                .then(
                    [this](const std::vector<NodeInspector>& inspectors) {
                      asked_ = false;
                      ask_actors(inspectors);
                    },
                    late);
          },
          late);
}

void MonitorShell::ask_actors(const std::vector<NodeInspector>& inspectors) {
  std::set<std::string> there;
  for (const NodeInspector& inspector : inspectors) {
    there.insert(inspector.node);
    Heard& heard = heard_[inspector.node];
    if (std::exchange(heard.asked, true)) continue;
    request(inspector.actor, kAnswer, inspect_atom::value)
        .then(
            [this, node = inspector.node](InspectorReport& report) {
              keep(node, report.spans);
              heard_[node] = {std::move(report.actors), now(), false};
            },
            [this, node = inspector.node](caf::error&) { heard_[node].asked = false; });
  }
  std::erase_if(heard_, [&](const auto& heard) { return !there.contains(heard.first); });
}

// Waits are judged as they were when they were told of: they may have ended since. The head's own
// actors are read, not asked, so that one that is stuck is no obstacle.
void MonitorShell::look() {
  const TimePoint time = now();
  std::vector<NodeStatus> nodes = nodes_;
  if (nodes.empty()) nodes.emplace_back().node = setup_.head;
  nodes.front().actors = services().registry.status(time);
  keep(setup_.head, services().registry.take_spans(time));
  for (NodeStatus& node : nodes) {
    if (node.node == setup_.head) continue;
    const auto heard = heard_.find(node.node);
    if (heard == heard_.end() || time - heard->second.at > kAnswer) {
      node.unheard = "it has not answered for a while";
      continue;
    }
    node.actors = heard->second.actors;
  }
  for (const std::string& words : watchdog_.look(nodes))
    services().tell(EventKind::kStall, "monitor", words);
}

}  // namespace tracewise
