// CAF between nodes: its protocol (BASP) over streams that the door or dial() have authenticated.
// CAF itself opens no socket here, so nobody reaches it in plain text or by another way in.
#pragma once

#include <caf/actor.hpp>
#include <caf/fwd.hpp>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "actors/membership.hpp"
#include "messages/result.hpp"
#include "transport/tls.hpp"

namespace tracewise {

// Sets what CAF must know before its actor system exists: the io module, and after how long a
// silent connection counts as broken. Heartbeats keep a healthy one from being silent; the head has
// given up a silent node before its links break (actors/membership.hpp).
void use_links(caf::actor_system_config& config, const MembershipOptions& membership);

// Who knows which node a process is, by the certificate of its link with this one: answers
// (caf::get_atom, caf::node_id) with that id, the node's name, and a number of no meaning. The name
// is empty where there is no such link.
caf::actor peer_book(caf::actor_system& system);

// Any thread may call. Outlives neither the actor system nor the streams' users: destroy it before
// the system.
class Links {
 public:
  // `front` is the actor that whoever connects to this node gets to talk to first; may be null.
  Links(caf::actor_system& system, caf::strong_actor_ptr front);
  ~Links();

  // Takes over a stream that this node accepted.
  void accept(std::unique_ptr<TlsStream> stream);

  // Takes over a stream that this node dialled and gives the other node's front, which may be null.
  // Blocks until its first words are here: kDeadline, or kIo if the connection broke.
  [[nodiscard]] Result<caf::strong_actor_ptr> connect(std::unique_ptr<TlsStream> stream,
                                                      TimePoint deadline);

  // Nobody is given the front any more, and it is let go. Connections stay.
  void withdraw();

  // Ends all connections with `peer`: its actors are down for this node from here on.
  void cut(const std::string& peer);

  // Waits until all peers have ended their connections. False: some have not by `until`.
  [[nodiscard]] bool wait_alone(std::chrono::steady_clock::time_point until);

  // Peers that this node was linked with and is not any more, ascending; forget_parted() begins
  // anew.
  std::vector<std::string> parted() const;
  void forget_parted();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tracewise
