#include "actors/node_registry.hpp"

#include <cstdio>

namespace tracewise {
namespace {

double seconds_between(RegistryEntry::TimePoint from, RegistryEntry::TimePoint to) {
  return std::chrono::duration<double>(to - from).count();
}

std::string in_seconds(double seconds) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f s", seconds);
  return text;
}

}  // namespace

void RegistryEntry::set_state(std::string_view state, TimePoint now) {
  const std::lock_guard lock(mutex_);
  if (state_ == state) return;
  state_ = state;
  state_since_ = now;
}

void RegistryEntry::handled(uint64_t mailbox) {
  const std::lock_guard lock(mutex_);
  mailbox_ = mailbox;
  ++handled_;
}

void RegistryEntry::begin_wait(const std::string& what, const std::string& who, TimePoint now,
                               TimePoint until) {
  const std::lock_guard lock(mutex_);
  waits_[what] = {who, now, until};
}

void RegistryEntry::end_wait(const std::string& what) {
  const std::lock_guard lock(mutex_);
  waits_.erase(what);
}

ActorStatus RegistryEntry::status(TimePoint now) const {
  const std::lock_guard lock(mutex_);
  ActorStatus status{name_,    role_,    state_, seconds_between(state_since_, now),
                     mailbox_, handled_, {}};
  for (const auto& [what, wait] : waits_) {
    status.waits.push_back(
        {wait.who, what, seconds_between(wait.since, now), seconds_between(now, wait.until)});
  }
  return status;
}

std::shared_ptr<RegistryEntry> NodeRegistry::enlist(const std::string& name,
                                                    const std::string& role,
                                                    RegistryEntry::TimePoint now) {
  auto entry = std::make_shared<RegistryEntry>(name, role, now);
  const std::lock_guard lock(mutex_);
  entries_[name] = entry;
  return entry;
}

std::vector<ActorStatus> NodeRegistry::status(RegistryEntry::TimePoint now) const {
  const std::lock_guard lock(mutex_);
  std::vector<ActorStatus> statuses;
  for (const auto& [name, weak] : entries_) {
    if (const auto entry = weak.lock()) statuses.push_back(entry->status(now));
  }
  return statuses;
}

std::string NodeRegistry::describe(const std::string& name, RegistryEntry::TimePoint now) const {
  for (const ActorStatus& actor : status(now)) {
    if (actor.name != name) continue;
    std::string text = name + ": " + actor.state + " for " + in_seconds(actor.state_seconds);
    for (const WaitStatus& wait : actor.waits) {
      text +=
          ", waits for " + wait.who + " (" + wait.what + ") for " + in_seconds(wait.since_seconds);
    }
    return text;
  }
  return {};
}

}  // namespace tracewise
