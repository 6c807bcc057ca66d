// The coordinator's shell around RunControl.
#pragma once

#include <memory>
#include <set>
#include <utility>

#include "actors/dispatcher.hpp"
#include "actors/run_parts.hpp"
#include "actors/shell.hpp"

namespace tracewise {

struct CoordinatorSetup {
  std::shared_ptr<const RunParts> parts;  // shared with the node's other actors
  std::shared_ptr<RunBooks> books;        // handed over by the thread that started the node
  RunOptions options;
  double wall_time = 0;  // at the start, in seconds since 1970
};

// Detached, because it waits for the disk.
class CoordinatorShell final : public Shell<CoordinatorActor> {
 public:
  CoordinatorShell(caf::actor_config& config, ShellContext context, CoordinatorSetup setup)
      : Shell(config, std::move(context)), setup_(std::move(setup)) {}

 protected:
  behavior_type make_behavior() override;
  void let_go() override;

 private:
  void run(Result<RunControl::Todo> todo);
  template <class Actors>
  void join(Role role, const Actors& actors);
  void abandon(const std::vector<Dispatcher::InFlight>& groups);
  void save(SaveRequest request);
  void look_at_time();
  void show_waits();
  static Seat holder(const Dispatcher::InFlight& flight);

  CoordinatorSetup setup_;
  std::unique_ptr<RunControl> control_;
  TimePoint last_progress_{};
  TimePoint committed_{};  // the step before
  std::set<Seat> shown_;   // whose groups the inspector is told to be waited for
};

}  // namespace tracewise
