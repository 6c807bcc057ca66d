#include "launch/launcher.hpp"

#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <utility>

#include "launch/build_id.hpp"
#include "launch/run_id.hpp"

namespace tracewise {
namespace {

using SteadyClock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr int kIdentityDays = 365;
// Before a process is started again.
constexpr milliseconds kRestartPause{500};
// For a process to leave beyond what the actors' own deadlines allow.
constexpr milliseconds kLeaveMargin{3000};
// ssh's own exit code for a connection that it could not make or that broke.
constexpr int kSshFailed = 255;

// What another start may mend.
bool may_pass(const Error& error) {
  return error.error_class == ErrorClass::kDeadline || error.error_class == ErrorClass::kInternal;
}

std::string ending(int exit_code) {
  if (exit_code > 128 && exit_code < 128 + NSIG)
    return "it was ended by signal " + std::to_string(exit_code - 128);
  return "it ended with exit code " + std::to_string(exit_code);
}

}  // namespace

Launcher::Launcher(const LaunchSetup& setup, LaunchFolder* folder)
    : setup_(setup),
      folder_(folder),
      config_text_(config_toml(setup.config, false)),
      resume_(setup.resume),
      node_restarts_left_(setup.config.cluster.node_restarts),
      head_restarts_left_(setup.config.cluster.head_restarts) {}

Result<RunSummary> Launcher::run() {
  TW_TRY(prepare());
  start_deadline_ = SteadyClock::now() + milliseconds(setup_.config.cluster.membership.join_ms);
  for (auto& [name, node] : nodes_) {
    if (!is_head(node)) TW_TRY(start(node));
  }
  check_started();
  while (!done_) {
    for (const ChildEvent& event : group_->wait(next_deadline(), setup_.signal_fd)) handle(event);
    read_signals();
    tick();
  }
  TW_TRY(group_->end_all(ProcessGroup::kEndLimit));
  return *outcome_;
}

Result<void> Launcher::prepare() {
  TW_ASSIGN(group_, ProcessGroup::create());
  const DoorOptions& door = setup_.placement.nodes.front().door;
  TW_ASSIGN(head_port_, hold_port(door.address, door.port));
  for (const PlacedNode& placed : setup_.placement.nodes) {
    TW_ASSIGN(Identity identity, folder_->authority().issue(placed.name, kIdentityDays));
    run_id_ = run_id(identity.authority_pem);
    Node& node = nodes_[placed.name];
    node.placed = placed;
    node.identity = std::move(identity);
  }
  return {};
}

NodeEnvelope Launcher::envelope_for(const Node& node) const {
  const ClusterOptions& cluster = setup_.config.cluster;
  NodeEnvelope envelope;
  envelope.identity = node.identity;
  envelope.run = run_id_;
  envelope.build = build_id();
  envelope.seats = node.placed.seats;
  envelope.devices = node.placed.devices;
  envelope.threads = node.placed.threads;
  envelope.rank_device = node.placed.rank_device;
  envelope.door = node.placed.door;
  envelope.host = node.placed.reached_as;
  envelope.membership = cluster.membership;
  envelope.weights = node.placed.weights;
  envelope.head_wait_ms = setup_.config.run.deadlines.start_ms;
  if (!is_head(node)) return envelope;
  // Where the nodes look for the one that starts again, too.
  envelope.door.port = head_port_.port;
  envelope.door.fixed_port = true;
  envelope.head = HeadEnvelope{config_text_, resume_, {}};
  for (const auto& [name, other] : nodes_) {
    if (!is_head(other) && !other.has_left) envelope.head->expected.push_back(name);
  }
  return envelope;
}

Result<void> Launcher::start(Node& node) {
  node.started = node.is_in = false;
  if (is_head(node)) {
    begun_ = false;
    for (auto& [name, other] : nodes_) other.is_in = false;
  }
  node.end.reset();
  node.last_words.clear();
  node.again.reset();
  TW_TRY(group_->start(node.placed.name, node.placed.argv));
  group_->write(node.placed.name, to_line(envelope_for(node)));
  if (!is_head(node) && head_address_)
    group_->write(node.placed.name, to_line(NodeOrder{head_address_, false}));
  return {};
}

void Launcher::handle(const ChildEvent& event) {
  Node& node = nodes_.at(event.child);
  if (event.kind == ChildEvent::Kind::kExit) return on_exit(node, event.exit_code);
  if (event.kind == ChildEvent::Kind::kOut) {
    if (const auto report = report_from_line(event.line)) return on_report(node, *report);
  }
  node.last_words = event.line;
  folder_->log(node.placed.name, event.line);
}

void Launcher::on_report(Node& node, const NodeReport& report) {
  if (std::holds_alternative<StartedReport>(report)) {
    node.started = true;
    check_started();
  }
  if (std::holds_alternative<JoinedReport>(report)) joined(node);
  if (const auto* progress = std::get_if<Progress>(&report)) {
    if (setup_.on_progress) setup_.on_progress(*progress);
  }
  if (const auto* event = std::get_if<EventReport>(&report))
    say(node.placed.name + ": " + event->line);
  if (const auto* end = std::get_if<EndReport>(&report)) node.end = *end;
  if (const auto* address = std::get_if<HeadAddress>(&report);
      address != nullptr && is_head(node)) {
    head_address_ = *address;
    say("the head is at " + place_name(address->host, address->port));
    if (const auto noted = folder_->note_head(*address); !noted.ok()) say(noted.error().message);
    for (const auto& [name, other] : nodes_) {
      if (!is_head(other)) group_->write(name, to_line(NodeOrder{head_address_, false}));
    }
  }
}

void Launcher::check_started() {
  if (head_begun_ || phase_ != Phase::kRunning) return;
  const auto late = std::ranges::find_if(nodes_, [this](const auto& entry) {
    return !is_head(entry.second) && !entry.second.started;
  });
  if (late == nodes_.end()) {
    head_begun_ = true;
    if (const auto started = start(head()); !started.ok()) begin_stop(started.error());
  } else if (SteadyClock::now() >= start_deadline_) {
    begin_stop(Error{ErrorClass::kDeadline,
                     "node " + late->first + " did not start within " +
                         std::to_string(setup_.config.cluster.membership.join_ms) +
                         " ms (cluster.join_ms)" +
                         (late->second.last_words.empty() ? "" : ": " + late->second.last_words)});
  }
}

void Launcher::joined(Node& node) {
  node.has_joined = node.is_in = true;
  begun_ = begun_ || std::ranges::all_of(nodes_, [this](const auto& entry) {
             return is_head(entry.second) || entry.second.is_in || entry.second.has_left;
           });
}

// Why a process that ended without success did.
Error Launcher::reason_of(const Node& node, int exit_code) const {
  if (node.end && node.end->error) return *node.end->error;
  if (never_reached(node, exit_code)) {
    return bad_input("host " + node.placed.host + " cannot be reached: " + node.last_words);
  }
  std::string reason = ending(exit_code);
  if (!node.last_words.empty()) reason += ", its last words: " + node.last_words;
  return {ErrorClass::kInternal, std::move(reason)};
}

bool Launcher::never_reached(const Node& node, int exit_code) const {
  return !node.started && !is_head(node) && exit_code == kSshFailed &&
         setup_.config.cluster.topology == Topology::kSsh;
}

void Launcher::on_exit(Node& node, int exit_code) {
  const bool well = node.end && !node.end->error;
  if (is_head(node)) {
    if (well)
      finish(node.end->summary);
    else
      on_head_exit(node, reason_of(node, exit_code));
    return;
  }
  if (phase_ != Phase::kRunning) return;
  if (well) {
    node.has_left = true;
    return say(node.placed.name + " has left the run");
  }
  on_node_exit(node, reason_of(node, exit_code));
}

void Launcher::on_head_exit(Node& node, const Error& reason) {
  if (phase_ == Phase::kRunning && may_pass(reason) && head_restarts_left_ > 0) {
    resume_ = folder_->has_run();
    return schedule(node, &head_restarts_left_, reason.message);
  }
  finish(reason);
}

void Launcher::on_node_exit(Node& node, const Error& reason) {
  const bool hopeless = !node.has_joined && !may_pass(reason);
  if (!hopeless && node_restarts_left_ > 0)
    return schedule(node, &node_restarts_left_, reason.message);
  // The run waits for each node to begin; later it can do without.
  if (!node.has_joined)
    return begin_stop(
        Error{reason.error_class, "node " + node.placed.name + ": " + reason.message});
  say(node.placed.name + " is lost, no restarts are left: " + reason.message);
}

void Launcher::schedule(Node& node, uint32_t* left, const std::string& reason) {
  --*left;
  // A host that was cut off goes on until it notices.
  const bool here = is_head(node) || setup_.config.cluster.topology == Topology::kLocal;
  const milliseconds pause =
      here ? kRestartPause : milliseconds(setup_.config.cluster.membership.lost_ms);
  node.again = SteadyClock::now() + pause;
  say(node.placed.name + " is started again, " + std::to_string(*left) +
      " restarts are left: " + reason);
}

void Launcher::tick() {
  const TimePoint now = SteadyClock::now();
  for (auto& [name, node] : nodes_) {
    if (phase_ != Phase::kRunning || !node.again || now < *node.again) continue;
    if (const auto started = start(node); !started.ok()) begin_stop(started.error());
  }
  check_started();
  if (phase_ == Phase::kStopping && now >= phase_deadline_) {
    finish(Error{ErrorClass::kDeadline,
                 "the head did not stop within deadlines.stop_ms and deadlines.exit_ms"});
  }
  if (phase_ == Phase::kEnding && (group_->empty() || now >= phase_deadline_)) done_ = true;
}

void Launcher::read_signals() {
  signalfd_siginfo info{};
  while (setup_.signal_fd >= 0 && ::read(setup_.signal_fd, &info, sizeof info) == sizeof info) {
    if (phase_ == Phase::kRunning) {
      say("stopping; once more to end at once");
      begin_stop(std::nullopt);
      continue;
    }
    if (!outcome_) outcome_ = Error{ErrorClass::kCancelled, "ended by a second signal"};
    done_ = true;
  }
}

// The head ends the run, with a checkpoint, and with it the other nodes. Before it has begun there
// is nothing to be kept.
void Launcher::begin_stop(std::optional<Error> why) {
  if (phase_ != Phase::kRunning) return;
  if (why) outcome_ = std::move(*why);
  if (!begun_) {
    finish(Error{ErrorClass::kCancelled, "stopped before the run began"});
    done_ = true;
    return;
  }
  phase_ = Phase::kStopping;
  const Deadlines& deadlines = setup_.config.run.deadlines;
  phase_deadline_ =
      SteadyClock::now() + milliseconds(deadlines.stop_ms + deadlines.exit_ms) + kLeaveMargin;
  if (!group_->runs(kHeadName))
    return finish(Error{ErrorClass::kCancelled, "stopped while the head was down"});
  group_->write(kHeadName, to_line(NodeOrder{std::nullopt, true}));
}

void Launcher::finish(Result<RunSummary> outcome) {
  if (!outcome_) outcome_ = std::move(outcome);
  begin_end();
}

void Launcher::begin_end() {
  if (phase_ == Phase::kEnding) return;
  phase_ = Phase::kEnding;
  phase_deadline_ =
      SteadyClock::now() + milliseconds(setup_.config.run.deadlines.exit_ms) + kLeaveMargin;
  for (const auto& [name, node] : nodes_) {
    group_->write(name, to_line(NodeOrder{std::nullopt, true}));
    group_->close_input(name);
  }
}

TimePoint Launcher::next_deadline() const {
  TimePoint next = SteadyClock::now() + std::chrono::seconds(60);
  if (phase_ != Phase::kRunning) return std::min(next, phase_deadline_);
  if (!head_begun_) next = std::min(next, start_deadline_);
  for (const auto& [name, node] : nodes_) {
    if (node.again) next = std::min(next, *node.again);
  }
  return next;
}

void Launcher::say(const std::string& line) {
  folder_->log("launch", line);
  if (setup_.on_event) setup_.on_event(line);
}

}  // namespace tracewise
