// What the learner's node and the members of its NCCL groups say to each other over a connection of
// Channel::kNccl once the hello is done. A group is a communicator: the learner is rank 0, a node's
// member another rank. Each way speaks in frames of one length.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "messages/records.hpp"
#include "messages/result.hpp"
#include "transport/nccl_api.hpp"

namespace tracewise {

// Learner -> member.
struct GroupOrder {
  enum class Kind : uint32_t {
    kForm,       // leave the group you are in, and be `rank` of `ranks` in `group`, by `id`
    kCast,       // the next broadcast in `group` is the version's
    kLeave,      // leave `group` and answer kLeft; versions up to this one come another way
    kElsewhere,  // versions up to this one come another way
  };
  Kind kind = Kind::kElsewhere;
  uint64_t group = 0;         // counts up
  uint32_t rank = 0;          // kForm
  uint32_t ranks = 0;         // kForm
  uint64_t bucket_bytes = 0;  // kForm; 1..kMaxBucketBytes
  uint64_t limit_ms = 0;      // kForm, kCast: give up after that
  uint64_t version = 0;       // all but kForm
  uint64_t epoch = 0;
  uint64_t bytes = 0;     // kCast: of the whole buffer
  uint64_t checksum = 0;  // kCast: xxh3-64 of it
  NcclId id{};            // kForm
  bool operator==(const GroupOrder&) const = default;
};

// Member -> learner.
struct GroupReport {
  enum class Kind : uint32_t {
    kJoin,    // the first: I can be in groups, on the GPU that `text` names
    kReady,   // `group` has formed
    kTook,    // the broadcast is here and is what was announced
    kSpoilt,  // the broadcast is over, but is not what was announced
    kFailed,  // `group` is of no use to me any more, because of `text`
    kLeft,    // the answer to kLeave
  };
  Kind kind = Kind::kJoin;
  uint64_t group = 0;
  std::string text;  // printable, at most kMaxReportText bytes
  bool operator==(const GroupReport&) const = default;
};

inline constexpr uint64_t kMaxBucketBytes = uint64_t{1} << 30;
inline constexpr size_t kGroupOrderBytes = 200;
inline constexpr size_t kGroupReportBytes = 256;
inline constexpr size_t kMaxReportText = kGroupReportBytes - 20;

std::array<std::byte, kGroupOrderBytes> to_bytes(const GroupOrder& order);
std::array<std::byte, kGroupReportBytes> to_bytes(const GroupReport& report);

// kCorrupt: none of ours, or a field that is out of its range.
[[nodiscard]] Result<GroupOrder> group_order(std::span<const std::byte> frame);
[[nodiscard]] Result<GroupReport> group_report(std::span<const std::byte> frame);

}  // namespace tracewise
