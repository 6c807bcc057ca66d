// Runs with fakes over several processes: what the head and its nodes agree on.
#pragma once

#include <string>
#include <utility>

#include "actors/cluster.hpp"

namespace tracewise {

inline constexpr uint64_t kFakeSeed = 11;

// Short, so that tests are; long enough for a busy machine.
inline constexpr MembershipOptions kFakeMembership{50, 500, 1500, 30'000};

inline NodeSetup fake_node_setup(Identity identity) {
  NodeSetup setup;
  setup.identity = std::move(identity);
  setup.hello.build = "fake";
  setup.hello.run = "fake run";
  setup.door.address = "127.0.0.1";
  setup.host = "127.0.0.1";
  setup.membership = kFakeMembership;
  return setup;
}

}  // namespace tracewise
