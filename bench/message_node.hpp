// One of the two processes between which the benchmark sends messages: a node's door, identity,
// links and actor system as in a run, an actor that gives messages back and one that sends them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <vector>

#include "actors/cluster.hpp"
#include "bench/messages.hpp"
#include "messages/records.hpp"
#include "messages/result.hpp"

namespace tracewise::bench {

// One thread owns a node and calls everything.
class MessageNode {
 public:
  // Opens the door. Whoever connects talks to an actor that gives rollouts back to their sender.
  // `log` is the node's log file.
  [[nodiscard]] static Result<std::unique_ptr<MessageNode>> open(const NodeSetup& setup,
                                                                 const std::filesystem::path& log);
  ~MessageNode();

  NodeAddress address() const;

  // Makes a link with another node. kDeadline, kIo.
  [[nodiscard]] Result<void> reach(const NodeAddress& node, TimePoint deadline);

  // Sends `rollout` to and fro for `seconds`, with `outstanding` >= 1 copies of it under way: each
  // that comes back is sent again. Messages are those of a generator to its tracer. kIo: the other
  // node is gone. kDeadline: it did not answer in time. kCorrupt: what came back differs.
  [[nodiscard]] Result<Exchange> exchange(const Rollout& rollout, int outstanding, double seconds,
                                          TimePoint deadline);

 private:
  class Impl;
  explicit MessageNode(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// The process at the other end of the benchmark, which starts it: reads who it is from standard
// input (launch/envelope.hpp), prints where its door is, and echoes until that input ends.
[[nodiscard]] Result<void> serve_echo();

}  // namespace tracewise::bench
