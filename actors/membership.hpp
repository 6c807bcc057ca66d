// Which nodes belong to a run, and how sure the head is of each. No actor, no clock of its own.
//
//             ready()             silent for suspect_ms
//   joining ----------> ready <--------------------------> suspect
//      |                  |          heard() again            |
//      | not ready        | its link broke                    | silent for lost_ms
//      | within join_ms   v                                   v
//      +---------------> lost <-------------------------------+          leave(): left, from any
//
// A node that is lost or left may come back as a new one under its old name. A joining node is not
// pinged: it may be busy for long. Of two nodes that are ready and have had no link with each other
// for suspect_ms, one is lost: what it made for the other went nowhere, and it makes all links anew
// when it joins again. A node with a rank of the learner is the last to be chosen: the run goes
// back to its checkpoint without it.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "messages/result.hpp"

namespace tracewise {

enum class NodeState : uint8_t { kJoining, kReady, kSuspect, kLost, kLeft };
const char* to_string(NodeState state);

// Milliseconds, all > 0, heartbeat_ms < suspect_ms < lost_ms.
struct MembershipOptions {
  int64_t heartbeat_ms = 1000;  // between two pings of the head
  int64_t suspect_ms = 3000;    // silence after which a node is shown as suspect
  int64_t lost_ms = 10'000;     // silence after which its work is issued again
  int64_t join_ms = 120'000;    // from a node's first word until it is ready
};

// kBadInput names the option and its range.
Result<void> check(const MembershipOptions& options);

// Not thread-safe; owned by the supervisor.
class Membership {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  struct Change {
    std::string node;
    NodeState state = NodeState::kJoining;
    std::string reason;  // one sentence, for kSuspect and kLost; may be empty for kLeft
  };

  explicit Membership(const MembershipOptions& options) : options_(options) {}

  // A node that was joining starts anew. False: one of that name is ready or suspect.
  bool join(const std::string& node, TimePoint now);
  // False: it isn't joining (any more).
  bool ready(const std::string& node, TimePoint now, bool has_rank = false);
  // A sign of life, with the nodes that it has lost its links with. Unknown nodes are ignored: what
  // they say may come after they were given up.
  std::optional<Change> heard(const std::string& node, TimePoint now,
                              const std::vector<std::string>& parted = {});
  // Its link broke, or it leaves as it should. Nothing if it is not here.
  std::optional<Change> lose(const std::string& node, std::string reason);
  std::optional<Change> leave(const std::string& node, std::string reason = "");

  // What became overdue, in the order of names.
  std::vector<Change> tick(TimePoint now);

  std::optional<NodeState> state(const std::string& node) const;  // nothing: not here
  std::vector<std::string> nodes() const;                         // ascending
  // How those ended that were here and are not, by name: kLost or kLeft.
  const std::map<std::string, Change>& gone() const { return gone_; }

 private:
  struct Node {
    NodeState state = NodeState::kJoining;
    TimePoint since;  // of the state kJoining
    TimePoint heard;
    std::map<std::string, TimePoint> parted;  // since when it says so
    bool has_rank = false;
  };
  Change end(Change change);
  std::optional<Change> lose_parted(TimePoint now);

  MembershipOptions options_;
  std::map<std::string, Node> nodes_;
  std::map<std::string, Change> gone_;
};

}  // namespace tracewise
