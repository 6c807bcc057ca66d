// Weights for receivers in the learner's own process and on other nodes at the same time.
#pragma once

#include <memory>

#include "transport/transport.hpp"

namespace tracewise {

// Offers each version by `near` and by `far`; what is told of its place is far's, whose storage
// allocate() gives. A version that far refuses is offered by neither.
std::unique_ptr<WeightsSender> make_both_sender(std::unique_ptr<WeightsSender> near,
                                                std::unique_ptr<WeightsSender> far);

}  // namespace tracewise
