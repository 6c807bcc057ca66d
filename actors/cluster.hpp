// What the nodes of a run need besides its options when there is more than one of them.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "actors/membership.hpp"
#include "actors/run_options.hpp"
#include "actors/run_parts.hpp"
#include "actors/signatures.hpp"
#include "messages/records.hpp"
#include "transport/door.hpp"
#include "transport/identity.hpp"
#include "transport/weights_way.hpp"

namespace tracewise {

// A node's own half of every connection that it makes or accepts.
struct NodeSetup {
  Identity identity;  // its name is the node's
  Hello hello;        // build and run; the rest is filled in
  DoorOptions door;
  std::string host;  // under which others reach the door
  MembershipOptions membership;
  WeightsWays weights;
};

// The head of a run over several nodes; see run_training().
struct HeadSetup {
  NodeSetup node;
  bool takes_nodes = true;  // false: a run in one process. Its door is for operators alone, it goes
                            // on without where none can be opened, and of the rest only on_open
                            // has a meaning
  std::string config;       // TOML that a node makes its parts from
  SeatCounts seats;         // on the head itself
  uint32_t ranks = 0;       // of the learner, beside the head's own
  bool ranks_serve_weights = false;   // they offer each version to generators, as the head does
  std::vector<std::string> expected;  // nodes without which the run doesn't begin
  // Called in the head's starting thread once nodes can join. May be empty.
  std::function<void(const NodeAddress&)> on_open;
  // What happens to the run and its nodes: "node gen0 is suspect: ...". Any thread. May be empty.
  std::function<void(const std::string& line)> on_event;
};

// What a node makes of the head's config.
struct WorkerParts {
  RunOptions options;
  RunParts parts;
};

struct WorkerSetup {
  NodeSetup node;
  NodeAddress head;  // where its door is
  SeatCounts seats;
  std::function<Result<WorkerParts>(const std::string& config)> make_parts;
  std::string log_file;
  // What the node is about: "joined", "the head is silent ...". May be empty.
  std::function<void(const std::string& line)> on_event;
};

// Serves a run until it is over or `stop` is requested, and joins it again after whatever parted it
// from the head: the head's restart, a broken link, a pause that the head took for its end. Blocks.
// kDeadline: the head was not found for node.membership.join_ms. Other errors: the head or another
// node refused this one, or its parts cannot be made.
[[nodiscard]] Result<void> run_worker(const WorkerSetup& setup, std::stop_token stop);

}  // namespace tracewise
