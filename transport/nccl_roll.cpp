#include "transport/nccl_roll.hpp"

#include <algorithm>
#include <set>
#include <utility>

namespace tracewise {
namespace {

using Order = GroupOrder::Kind;
using Report = GroupReport::Kind;

std::string name_of(const GroupMember& member) { return "node '" + member.link.peer() + "'"; }

void add_name(std::string& names, const GroupMember& member) {
  names += (names.empty() ? "" : ", ") + name_of(member);
}

}  // namespace

void NcclRoll::say_goodbye() {
  for (GroupMember& member : members_) member.link.say_goodbye();
}

std::optional<std::string> NcclRoll::read() {
  std::optional<std::string> failure;
  for (GroupMember& member : members_) read(member, failure);
  return failure;
}

void NcclRoll::read(GroupMember& member, std::optional<std::string>& failure) {
  if (!member.link.flush().ok()) member.lost = true;
  while (!member.lost) {
    const auto frame = member.link.read();
    if (frame.ok() && frame->empty()) return;
    const auto report = frame.ok() ? group_report(*frame) : Result<GroupReport>(frame.error());
    if (report.ok()) hear(member, *report, failure);
    if (!report.ok()) member.lost = true;
  }
}

void NcclRoll::hear(GroupMember& member, const GroupReport& report,
                    std::optional<std::string>& failure) {
  if (report.kind == Report::kJoin) return join(member, report.text);
  if (report.group != member.group) return;  // of a group that it was in before
  switch (report.kind) {
    case Report::kJoin:
      break;
    case Report::kReady:
    case Report::kTook:
    case Report::kSpoilt:
      member.answered = true;
      break;
    case Report::kFailed:
      if (in_group(member) && !failure) failure = name_of(member) + ": " + report.text;
      break;
    case Report::kLeft:
      member.leaving = false;
      member.group = 0;
      break;
  }
}

void NcclRoll::join(GroupMember& member, const std::string& gpu) {
  member.gpu = gpu;
  // A node that comes again has lost its connection before, whether this side knows it or not.
  for (GroupMember& other : members_) {
    if (&other != &member && other.link.peer() == member.link.peer()) other.lost = true;
  }
  if (passed_) tell(member, {.kind = Order::kElsewhere});
}

std::string NcclRoll::drop_lost() {
  std::string grouped;
  for (auto member = members_.begin(); member != members_.end();) {
    if (!member->lost) {
      ++member;
      continue;
    }
    if (in_group(*member)) add_name(grouped, *member);
    member = members_.erase(member);
  }
  return grouped;
}

bool NcclRoll::any_lost() const { return std::ranges::any_of(members_, &GroupMember::lost); }

std::vector<GroupMember*> NcclRoll::choose(const std::string& own_gpu) {
  std::set<std::string> gpus{own_gpu};
  std::vector<GroupMember*> chosen;
  for (GroupMember& member : members_) {
    if (member.lost || member.leaving || member.gpu.empty()) continue;
    if (gpus.insert(member.gpu).second) chosen.push_back(&member);
  }
  return chosen;
}

bool NcclRoll::is_group(const std::vector<GroupMember*>& chosen) const {
  return grouped_ && std::ranges::all_of(chosen, [&](const auto* m) { return in_group(*m); });
}

void NcclRoll::form(const std::vector<GroupMember*>& chosen, GroupOrder order) {
  ++group_;
  grouped_ = true;
  order.kind = Order::kForm;
  order.ranks = static_cast<uint32_t>(chosen.size()) + 1;
  order.rank = 0;
  for (GroupMember* member : chosen) {
    ++order.rank;
    member->group = group_;
    member->answered = false;
    tell(*member, order);
  }
}

void NcclRoll::cast(const GroupOrder& order) {
  for (GroupMember& member : members_) {
    if (!in_group(member)) continue;
    member.answered = false;
    tell(member, order);
  }
}

void NcclRoll::dissolve() {
  for (GroupMember& member : members_) {
    if (!in_group(member)) continue;
    member.leaving = true;
    tell(member, {.kind = Order::kLeave});
  }
  grouped_ = false;
}

bool NcclRoll::all_answered() const {
  return std::ranges::all_of(
      members_, [&](const GroupMember& member) { return !in_group(member) || member.answered; });
}

std::string NcclRoll::unanswered() const {
  std::string nodes;
  for (const GroupMember& member : members_) {
    if (!in_group(member) || member.answered) continue;
    add_name(nodes, member);
  }
  return nodes;
}

void NcclRoll::pass(const WeightsManifest& moment) {
  if (!passed_ || is_newer(moment, *passed_)) passed_ = moment;
}

void NcclRoll::tell_elsewhere(bool all) {
  for (GroupMember& member : members_) {
    if (member.gpu.empty() || (!all && in_group(member))) continue;
    tell(member, {.kind = Order::kElsewhere});
  }
}

void NcclRoll::tell(GroupMember& member, GroupOrder order) {
  order.group = member.group;
  if (order.kind == Order::kLeave || order.kind == Order::kElsewhere) {
    order.version = passed_->version;
    order.epoch = passed_->epoch;
  }
  if (!member.link.write(to_bytes(order)).ok()) member.lost = true;
}

}  // namespace tracewise
