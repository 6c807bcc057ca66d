// Who lives on this node, what each one is doing and whom it waits for. Actors write into their own
// entry; the inspector reads all of them, also that of an actor that is stuck in a computation and
// would never answer a message.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "actors/activity.hpp"
#include "messages/waits.hpp"

namespace tracewise {

struct ActorStatus {
  std::string name;          // "generator 1"
  std::string role;          // "generator"
  std::string state;         // "decoding"
  double state_seconds = 0;  // for how long
  uint64_t mailbox = 0;      // messages when the actor last looked
  uint64_t handled = 0;      // messages so far
  std::vector<WaitStatus> waits;
  bool operator==(const ActorStatus&) const = default;
};

// An actor's own entry. Its methods lock for a few instructions; any thread may call them.
class RegistryEntry {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  // `spans` hears what the actor did and waited for.
  RegistryEntry(std::string name, std::string role, std::shared_ptr<SpanBuffer> spans,
                TimePoint now)
      : name_(std::move(name)),
        role_(std::move(role)),
        spans_(std::move(spans)),
        state_("starting"),
        state_since_(now),
        activity_(spans_.get(), name_, state_, now) {}

  const std::string& name() const { return name_; }

  // A state that the actor is in already keeps its age.
  void set_state(std::string_view state, TimePoint now);
  void handled(uint64_t mailbox);

  // See Waits: what the actor waits for while it goes on.
  void begin_wait(std::string_view what, std::string_view who, TimePoint since, TimePoint until) {
    waits_->begin(what, who, since, until);
  }
  void end_wait(std::string_view what, TimePoint now = std::chrono::steady_clock::now());
  // For a WaitsScope around the actor's handlers: there it waits and does not go on.
  const std::shared_ptr<Waits>& waits() const { return waits_; }

  ActorStatus status(TimePoint now) const;

 private:
  const std::string name_;
  const std::string role_;
  const std::shared_ptr<SpanBuffer> spans_;  // shared with the registry and its other entries
  mutable std::mutex mutex_;
  std::string state_;
  TimePoint state_since_;
  Activity activity_;
  uint64_t mailbox_ = 0;
  uint64_t handled_ = 0;
  const std::shared_ptr<Waits> waits_ = std::make_shared<Waits>();  // shared with the scopes
};

// Thread-safe.
class NodeRegistry {
 public:
  // The entry is shared by its actor and the registry, which shows it for as long as the actor
  // keeps it. A newer entry of the same name (a restarted actor) replaces the older one.
  std::shared_ptr<RegistryEntry> enlist(const std::string& name, const std::string& role,
                                        RegistryEntry::TimePoint now);

  // The actors by name, then the threads of the process that do something (thread_status()), as
  // actors of the role "thread".
  std::vector<ActorStatus> status(RegistryEntry::TimePoint now) const;

  // What the actors did since the last call, and a stretch of somebody else's time.
  std::vector<Span> take_spans(RegistryEntry::TimePoint now) { return spans_->take(now); }
  void add_span(const std::string& actor, const std::string& name, RegistryEntry::TimePoint begin,
                RegistryEntry::TimePoint end) {
    spans_->add(actor, name, "", begin, end);
  }

  // "generator 1: decoding for 12 s, waits for learner (weights version 5) for 3 s", for error
  // messages; empty for an unknown name.
  std::string describe(const std::string& name, RegistryEntry::TimePoint now) const;

 private:
  mutable std::mutex mutex_;
  std::map<std::string, std::weak_ptr<RegistryEntry>> entries_;
  const std::shared_ptr<SpanBuffer> spans_ = std::make_shared<SpanBuffer>();  // with the entries
};

}  // namespace tracewise
