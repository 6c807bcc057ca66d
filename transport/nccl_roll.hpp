// The learner's book of the members of its NCCL groups, and its connections to them.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "transport/frame_link.hpp"
#include "transport/nccl_wire.hpp"
#include "transport/transport.hpp"

namespace tracewise {

struct GroupMember {
  explicit GroupMember(std::unique_ptr<TlsStream> stream)
      : link(std::move(stream), kGroupReportBytes) {}

  FrameLink link;
  std::string gpu;        // empty: has not joined yet
  uint64_t group = 0;     // that it is in; 0: none
  bool leaving = false;   // was told to leave it and has not answered
  bool answered = false;  // what the group waits for: that it is ready, or has the broadcast
  bool lost = false;      // its connection is over
};

// Not thread-safe, and never blocks. Whoever tells a member something may lose it by that:
// drop_lost() says so later.
class NcclRoll {
 public:
  void add(std::unique_ptr<TlsStream> stream) { members_.emplace_back(std::move(stream)); }
  const std::list<GroupMember>& members() const { return members_; }
  void say_goodbye();

  // Hears what all have said. The sentence of the first to whom the group is of no use any more.
  std::optional<std::string> read();

  // Takes out those whose connection is over, and names those of them that were in the group:
  // "node 'a', node 'b'".
  std::string drop_lost();
  bool any_lost() const;

  // Those that a group of now would have, beside the learner's own GPU: a GPU is in it once, and a
  // member that has not left its last one yet may be gone.
  std::vector<GroupMember*> choose(const std::string& own_gpu);

  // Whether there is a group, and all of these are in it.
  bool is_group(const std::vector<GroupMember*>& chosen) const;
  bool in_group(const GroupMember& member) const {
    return grouped_ && member.group == group_ && !member.leaving;
  }
  uint64_t group() const { return group_; }  // number of the last one

  // Makes a group of these, in place of the one before; `order` says how.
  void form(const std::vector<GroupMember*>& chosen, GroupOrder order);
  // Announces a broadcast in the group.
  void cast(const GroupOrder& order);
  // There is no group any more; who was in it is told to leave.
  void dissolve();

  // Whether all have answered what the group was last told, and who has not.
  bool all_answered() const;
  std::string unanswered() const;

  // Versions up to `moment` are not to come any more but by what was cast; moments only go up.
  void pass(const WeightsManifest& moment);
  // Says so to those who are not in the group, or to all.
  void tell_elsewhere(bool all);

 private:
  void read(GroupMember& member, std::optional<std::string>& failure);
  void hear(GroupMember& member, const GroupReport& report, std::optional<std::string>& failure);
  void join(GroupMember& member, const std::string& gpu);
  void tell(GroupMember& member, GroupOrder order);

  std::list<GroupMember> members_;
  uint64_t group_ = 0;
  bool grouped_ = false;  // there is a group, or one that forms
  std::optional<WeightsManifest> passed_;
};

}  // namespace tracewise
