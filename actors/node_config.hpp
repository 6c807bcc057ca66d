// How every actor system of ours is set up.
#pragma once

#include <caf/actor_system_config.hpp>

namespace tracewise {

// Compute has threads of its own; what is left for the scheduler are messages. Values are set in
// code because nothing but tracewise's own configuration is to steer a run: parse() is never
// called, so no caf-application.ini is read.
class NodeConfig : public caf::actor_system_config {
 public:
  NodeConfig();
};

}  // namespace tracewise
