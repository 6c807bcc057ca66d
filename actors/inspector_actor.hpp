// The inspector's shell around the node's registry.
#pragma once

#include <utility>

#include "actors/shell.hpp"

namespace tracewise {

class InspectorShell final : public Shell<InspectorActor> {
 public:
  InspectorShell(caf::actor_config& config, ShellContext context)
      : Shell(config, std::move(context)) {}

 protected:
  behavior_type make_behavior() override {
    set_state("idle");
    return {[this](status_atom) {
              seen();
              return services().registry.status(now());
            },
            [this](inspect_atom) {
              seen();
              const TimePoint time = now();
              return InspectorReport{services().registry.status(time),
                                     services().registry.take_spans(time)};
            }};
  }
};

}  // namespace tracewise
