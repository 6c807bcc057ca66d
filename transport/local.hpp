// Weights within a process: receivers share the learner's buffer.
#pragma once

#include <memory>

#include "transport/transport.hpp"

namespace tracewise {

// Where the sender and the receivers of one process meet.
class LocalWeights;
std::shared_ptr<LocalWeights> make_local_weights();

// The two sides, which share `weights`. An abort on either side is one on all. Nothing is copied,
// so the checksum that the manifest states is compared and the bytes are not added up again. A
// fetch waits for a version that is still to be published.
std::unique_ptr<WeightsSender> make_local_sender(std::shared_ptr<LocalWeights> weights);
std::unique_ptr<WeightsReceiver> make_local_receiver(std::shared_ptr<LocalWeights> weights);

}  // namespace tracewise
