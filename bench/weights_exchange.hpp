// A learner's node and a generator's on loopback, and the way of weights between them.
#pragma once

#include <memory>

#include "transport/door.hpp"
#include "transport/identity.hpp"
#include "transport/node_weights.hpp"

namespace tracewise::bench {

// The identities of both nodes, and the learner's door.
struct Nodes {
  TlsContext learner;
  TlsContext generator;
  std::unique_ptr<Door> door;
};
Result<Nodes> make_nodes();

// Both ends, over `connections` TLS connections or, with `shm`, through shared memory. `nodes`
// outlives it.
struct WeightsExchange {
  std::unique_ptr<WeightsSender> sender;
  std::shared_ptr<WeightsReceiver> receiver;
};
Result<WeightsExchange> make_weights_exchange(const Nodes& nodes, bool shm, int connections);

}  // namespace tracewise::bench
