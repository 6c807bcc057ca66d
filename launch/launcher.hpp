// Runs the processes of a run from their start until none is left: tells them who they are, starts
// those again that died, and ends all when the head has ended, a stop was asked for or nothing more
// can be done.
//
//               the head is open            a stop, or an error that ends the run
//   starting -----------------> running -------------------------> stopping (head: checkpoint)
//                                  |                                   |
//                                  | the head has ended                | the head has ended, or
//                                  late
//                                  +------------------> ending <-------+
//                                                         | all have left, or late
//                                                         v
//                                                      killed, waited for
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "actors/run_control.hpp"
#include "launch/envelope.hpp"
#include "launch/held_port.hpp"
#include "launch/launch_folder.hpp"
#include "launch/placement.hpp"
#include "launch/process_group.hpp"

namespace tracewise {

struct LaunchSetup {
  Config config;
  Placement placement;
  bool resume = false;
  int signal_fd = -1;  // a signalfd: each signal read from it asks for a stop; -1: none
  std::function<void(const Progress&)> on_progress;       // the head's; may be empty
  std::function<void(const std::string& line)> on_event;  // may be empty
};

// One thread creates it and calls run() once.
class Launcher {
 public:
  // `folder` outlives the launcher.
  Launcher(const LaunchSetup& setup, LaunchFolder* folder);

  // Blocks until the run is over and no process is left, whatever happened. The error is the one
  // that ended the run, with the node's name where it is not the head's.
  [[nodiscard]] Result<RunSummary> run();

 private:
  struct Node {
    PlacedNode placed;
    Identity identity;
    bool started = false;            // this process has read its envelope
    bool has_joined = false;         // some process of the node was taken in
    bool is_in = false;              // this process was taken in by this process of the head
    bool has_left = false;           // as it was asked to: nobody waits for it any more
    std::optional<EndReport> end;    // of this process
    std::string last_words;          // its last line on standard error
    std::optional<TimePoint> again;  // when it is started again
  };
  enum class Phase { kRunning, kStopping, kEnding };

  Result<void> prepare();
  Result<void> start(Node& node);
  NodeEnvelope envelope_for(const Node& node) const;
  void handle(const ChildEvent& event);
  void on_report(Node& node, const NodeReport& report);
  void on_exit(Node& node, int exit_code);
  void on_head_exit(Node& head, const Error& reason);
  void on_node_exit(Node& node, const Error& reason);
  Error reason_of(const Node& node, int exit_code) const;
  bool never_reached(const Node& node, int exit_code) const;
  void schedule(Node& node, uint32_t* left, const std::string& reason);
  void tick();
  void read_signals();
  void begin_stop(std::optional<Error> why);
  void begin_end();
  void finish(Result<RunSummary> outcome);
  TimePoint next_deadline() const;
  void joined(Node& node);
  void check_started();
  bool is_head(const Node& node) const { return node.placed.name == kHeadName; }
  Node& head() { return nodes_.at(kHeadName); }
  void say(const std::string& line);

  const LaunchSetup& setup_;
  LaunchFolder* folder_;
  std::unique_ptr<ProcessGroup> group_;
  std::map<std::string, Node> nodes_;
  std::string run_id_;
  std::string config_text_;
  HeldPort head_port_;
  std::optional<HeadAddress> head_address_;
  bool resume_;
  uint32_t node_restarts_left_;
  uint32_t head_restarts_left_;
  Phase phase_ = Phase::kRunning;
  TimePoint start_deadline_;  // until which every other node must have started
  bool head_begun_ = false;   // the head was started, because they have
  bool begun_ = false;        // this process of the head had all nodes: it trains
  TimePoint phase_deadline_;
  bool done_ = false;
  std::optional<Result<RunSummary>> outcome_;  // the first one counts
};

}  // namespace tracewise
