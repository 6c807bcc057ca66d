// What the launcher and a node's process say to each other, a JSON object a line. The launcher
// writes to the node's standard input: the envelope, then orders. The node writes reports to its
// standard output. Nothing of it is ever an argument or in the environment, because it holds keys.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "actors/progress.hpp"
#include "actors/run_control.hpp"
#include "launch/cluster_options.hpp"
#include "messages/result.hpp"
#include "transport/door.hpp"
#include "transport/identity.hpp"
#include "transport/weights_way.hpp"

namespace tracewise {

// --- launcher -> node ----------------------------------------------------------------------------

// What the head is told beside what every node is.
struct HeadEnvelope {
  std::string config;  // TOML, resolved; its run.dir is the run folder
  bool resume = false;
  std::vector<std::string> expected;  // nodes without which the run doesn't begin
};

struct NodeEnvelope {
  Identity identity;  // its name is the node's
  std::string run;    // run id
  std::string build;  // build id of the launcher's binary
  Seats seats;
  std::vector<std::string> devices;  // one for each generator; empty: as the config says
  uint32_t threads = 0;              // of each generator; 0: as the config says
  std::string rank_device;           // of the learner's rank; empty: as the config says
  DoorOptions door;
  std::string host;  // under which others reach the door; empty: as its host calls itself
  MembershipOptions membership;
  WeightsWays weights;
  int64_t head_wait_ms = 0;          // for the order that says where the head is
  std::optional<HeadEnvelope> head;  // the head's own
};

// Where the head's door is.
struct HeadAddress {
  std::string host;
  uint16_t port = 0;
  bool operator==(const HeadAddress&) const = default;
};

// An order that follows the envelope. Neither is one that this build doesn't know.
struct NodeOrder {
  std::optional<HeadAddress> head;
  bool stop = false;  // the head: with a checkpoint
};

// Each with its line feed.
std::string to_line(const NodeEnvelope& envelope);
std::string to_line(const NodeOrder& order);

// kBadInput; the text is never quoted, because it holds a private key.
[[nodiscard]] Result<NodeEnvelope> envelope_from_line(std::string_view line);
[[nodiscard]] Result<NodeOrder> order_from_line(std::string_view line);

// --- node -> launcher ----------------------------------------------------------------------------

struct StartedReport {  // the envelope was read and fits
  bool operator==(const StartedReport&) const = default;
};
struct JoinedReport {  // the head took the node in, and it has made its parts
  bool operator==(const JoinedReport&) const = default;
};
struct EventReport {
  std::string line;
};
struct EndReport {
  std::optional<Error> error;
  RunSummary summary;  // of the head, if there is no error; of its evaluations the last one
};
using NodeReport =
    std::variant<StartedReport, HeadAddress, JoinedReport, Progress, EventReport, EndReport>;

std::string to_line(const NodeReport& report);
// Nothing: the line is no report. Something else that ran on the way to the node printed it.
std::optional<NodeReport> report_from_line(std::string_view line);

}  // namespace tracewise
