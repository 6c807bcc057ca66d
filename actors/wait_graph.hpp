// Who waits for whom in a run, over all its nodes: what the inspectors say put together.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "actors/control.hpp"

namespace tracewise {

// One actor on the way to what is waited for in the end.
struct WaitLink {
  std::string node;
  ActorStatus actor;
  std::optional<WaitStatus> wait;  // that leads on; none: the last actor
};

struct WaitChain {
  enum class End : uint8_t {
    kWorks,    // the last actor waits for nobody: what it does is what all wait for
    kOutside,  // the last wait is for what is no actor (a verifier, a node), or cannot be asked
    kCycle,    // the last wait is for an actor of the chain: nobody will go on
  };
  End end = End::kWorks;
  std::vector<WaitLink> links;  // the actor that was asked for first
  std::string note;             // of kOutside: what is known of whom the last link waits for
};

class WaitGraph {
 public:
  // `nodes`: an answer to ControlRequest::Kind::kActors.
  explicit WaitGraph(std::vector<NodeStatus> nodes) : nodes_(std::move(nodes)) {}

  // All actors that are called so: "NODE/ACTOR", or the actor's name alone.
  std::vector<WaitLink> find(const std::string& name) const;

  // Of an actor's waits the one that began first leads on.
  WaitChain why(const WaitLink& from) const;

  // Every wait of every actor, that which has least time left first.
  std::vector<WaitLink> waits() const;

  // Chains that end in a cycle, each cycle once, from its first actor by name.
  std::vector<WaitChain> cycles() const;

  // As find() takes them: the shortest name that one actor alone has.
  std::vector<std::string> names() const;

 private:
  std::optional<WaitLink> awaited(const WaitLink& by) const;
  std::optional<WaitLink> busiest_thread(const WaitLink& by) const;
  std::string note_of(const std::string& who) const;

  std::vector<NodeStatus> nodes_;
};

// For people, a line for each link and one for the end: "coordinator (head) waits for learner: a
// step; for 3.2 s, at most 596.8 s more".
std::vector<std::string> lines_of(const WaitChain& chain);

}  // namespace tracewise
