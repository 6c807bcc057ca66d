// The monitor's shell around the watchdog: looks at the head's actors four times a second, asks all
// nodes' inspectors twice, tells what stalls the run and keeps its timeline. It waits for nobody.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "actors/shell.hpp"
#include "actors/timeline.hpp"
#include "actors/watchdog.hpp"

namespace tracewise {

struct MonitorSetup {
  SupervisorActor supervisor;
  std::string head;                // the head's name
  std::filesystem::path timeline;  // file
  double wall_time = 0;            // of the shell's making, in seconds since 1970
};

class MonitorShell final : public Shell<MonitorActor> {
 public:
  MonitorShell(caf::actor_config& config, ShellContext context, MonitorSetup setup)
      : Shell(config, std::move(context)), setup_(std::move(setup)), begun_(now()) {}

 protected:
  behavior_type make_behavior() override;
  void let_go() override;

 private:
  void ask_nodes();
  void ask_actors(const std::vector<NodeInspector>& inspectors);
  void look();
  void keep(const std::string& node, const std::vector<Span>& spans);

  // What a node's inspector said last.
  struct Heard {
    std::vector<ActorStatus> actors;
    TimePoint at;
    bool asked = false;  // and has not answered yet
  };

  MonitorSetup setup_;
  std::vector<NodeStatus> nodes_;       // without their actors; the head first
  std::map<std::string, Heard> heard_;  // by node, without the head
  int looks_ = 0;
  bool asked_ = false;  // the supervisor has not answered yet
  Watchdog watchdog_;
  const TimePoint begun_;
  std::unique_ptr<Timeline> timeline_;  // none: it could not be written
};

}  // namespace tracewise
