#include "actors/node_registry.hpp"

#include <cstdio>
#include <utility>

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
  activity_.was(state_, now);
  state_ = state;
  state_since_ = now;
}

void RegistryEntry::handled(uint64_t mailbox) {
  const std::lock_guard lock(mutex_);
  mailbox_ = mailbox;
  ++handled_;
}

void RegistryEntry::end_wait(std::string_view what, TimePoint now) {
  if (const auto ended = waits_->end(what); ended && now - ended->since >= Activity::kLeast)
    spans_->add(name_, std::string(what), ended->who, ended->since, now);
}

ActorStatus RegistryEntry::status(TimePoint now) const {
  const std::lock_guard lock(mutex_);
  return {name_,
          role_,
          state_,
          seconds_between(state_since_, now),
          mailbox_,
          handled_,
          waits_->status(now)};
}

std::shared_ptr<RegistryEntry> NodeRegistry::enlist(const std::string& name,
                                                    const std::string& role,
                                                    RegistryEntry::TimePoint now) {
  auto entry = std::make_shared<RegistryEntry>(name, role, spans_, now);
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
  for (ThreadStatus& thread : thread_status(now)) {
    ActorStatus& status = statuses.emplace_back();
    status.name = std::move(thread.name);
    status.role = "thread";
    status.state = thread.waits.empty() ? "working" : "waiting";
    status.waits = std::move(thread.waits);
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
