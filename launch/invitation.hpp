// What lets a node join a run that goes on: an identity of its own that the run's authority has
// signed, and where the head is. A text of two lines, the envelope and the order that a launcher
// would write to the node (launch/envelope.hpp). Whoever has it can join, so it is kept as secret
// as a key.
#pragma once

#include <string>
#include <string_view>

#include "launch/envelope.hpp"
#include "launch/run_contact.hpp"

namespace tracewise {

struct Invitation {
  NodeEnvelope envelope;  // without seats: who joins says what it brings
  HeadAddress head;
};

// For a node called `name`, which can make connections for `valid_days`. kBadInput: no node can be
// called that.
[[nodiscard]] Result<Invitation> invite(const RunContact& run, const std::string& name,
                                        int valid_days);

// "guest-" and 8 random hex digits.
std::string guest_name();

std::string to_text(const Invitation& invitation);
// kBadInput; the text is never quoted.
[[nodiscard]] Result<Invitation> invitation_from_text(std::string_view text);

}  // namespace tracewise
