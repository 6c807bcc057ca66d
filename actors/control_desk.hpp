// Answers what an operator asks the head: see control.hpp.
#pragma once

#include <caf/fwd.hpp>
#include <functional>
#include <string>

#include "actors/signatures.hpp"

namespace tracewise {

class ControlDesk {
 public:
  // `system` outlives the desk; `head` is the head's own address. `stop` ends the run with a
  // checkpoint; it may be called any number of times and must not block.
  ControlDesk(caf::actor_system* system, SupervisorActor supervisor, CoordinatorActor coordinator,
              InspectorActor inspector, NodeAddress head, std::function<void()> stop)
      : system_(system),
        supervisor_(std::move(supervisor)),
        coordinator_(std::move(coordinator)),
        inspector_(std::move(inspector)),
        head_(std::move(head)),
        stop_(std::move(stop)) {}

  // The answer's text for the request of the node that a certificate calls `peer`. Blocks until the
  // actors answer, for 8 s at most. One thread at a time.
  std::string answer(const std::string& request, const std::string& peer) const;

 private:
  ControlAnswer carry_out(const std::string& request, const std::string& peer) const;
  ControlAnswer nodes() const;
  ControlAnswer actors() const;
  Result<void> drain(const std::string& node) const;
  Result<void> order(const RunOrder& order) const;

  caf::actor_system* system_;
  SupervisorActor supervisor_;
  CoordinatorActor coordinator_;
  InspectorActor inspector_;  // the head's
  NodeAddress head_;
  std::function<void()> stop_;
};

}  // namespace tracewise
