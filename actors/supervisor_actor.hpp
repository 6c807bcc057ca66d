// The supervisor fills the seats of a run and nobody dies unnoticed. Whoever held a seat is
// replaced under a new number while restarts are left, because its groups can be issued again; any
// other death, and a failure that a replacement would meet again, ends the run with one sentence
// that names the actor. A node that is lost takes its seats with it, and costs no restart: its
// groups go to the seats of the nodes that are left, or that come. The ranks of the learner are
// exempt: the loss of one ends the run, which is resumed from its newest checkpoint.
//
//   hire -> start -> ready -> told to all (Peers) -> gets work -> lost -> hire ...
//
// A node that is drained gets no work any more; once the coordinator says that nothing is on its
// way through any of its seats, it is told to go.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "actors/membership.hpp"
#include "actors/run_options.hpp"
#include "actors/shell.hpp"

namespace tracewise {

struct SupervisorSetup {
  // On the head itself.
  std::function<Hired(const Seat&, const SupervisorActor& supervisor)> hire;
  SeatCounts seats;  // there
  RunOptions options;

  // Of a run with other nodes.
  MembershipOptions membership;
  uint32_t ranks = 0;                           // of the learner, beside rank 0
  std::vector<std::string> expected;            // nodes that the run waits for before it begins
  std::string config;                           // what a node is welcomed with
  std::function<void(const std::string&)> cut;  // ends the connections with a node
};

class SupervisorShell final : public Shell<SupervisorActor> {
 public:
  SupervisorShell(caf::actor_config& config, ShellContext context, SupervisorSetup setup)
      : Shell(config, std::move(context)),
        setup_(std::move(setup)),
        restarts_left_(setup_.options.restarts),
        membership_(setup_.membership) {}

 protected:
  behavior_type make_behavior() override;
  void let_go() override;

 private:
  struct Watched {
    std::string name;
    std::optional<Seat> seat;  // none: the coordinator, the learner, an agent
    std::string node;          // empty: the head
  };
  struct Node {
    NodeOffer offer;
    std::set<Seat> seats;
    std::optional<std::set<Seat>> drained = {};  // of a draining node: seats that are idle
  };

  template <class Handle>
  void watch(const Handle& handle, std::string name, std::string node = {},
             std::optional<Seat> seat = {}) {
    watched_[handle.address()] = {std::move(name), seat, std::move(node)};
    this->monitor(handle);
  }
  // Nodes (supervisor_nodes.cpp).
  caf::result<Welcome> answer_join(const NodeAddress& address);
  Welcome welcome(const NodeAddress& address);
  void node_ready(NodeOffer offer);
  void apply(const Membership::Change& change);
  void lose_node(const std::string& node, const std::string& reason);
  void part_with(const std::string& node, const std::string& reason, bool over);
  Outcome drain(const std::string& node);
  std::string vacancy_without(const std::string& node) const;
  void drained(const Seat& seat);
  void let_go_if_drained(const std::string& node);
  // The first is the head itself, whose name and address others know.
  std::vector<NodeStatus> status() const;
  std::vector<NodeInspector> inspectors() const;  // of the other nodes
  void tick();
  void check_vacancies();

  void begin(Peers peers);
  void start_learner();
  void lose_rank(const Seat& seat, const std::string& reason);
  void hire(Role role, const std::string& node);
  void hired(const Seat& seat, const std::string& node, const Hired& hired);
  template <class Handle, class... Ts>
  void start(const Handle& actor, const std::string& name, std::function<void()> ready,
             Ts&&... message);
  void spread_soon();
  void spread();
  template <class Handle>
  void tell(const Handle& actor, const std::string& name, const Peers& peers);
  void told(uint64_t epoch, const std::string& name);
  void end_all(bool over, const std::string& why);
  void on_down(const caf::down_msg& down);
  void give_up(const Seat& seat, const std::string& reason);
  void lose(const Seat& seat, const std::string& reason, bool blame);
  void end_run(Error error);

  SupervisorSetup setup_;
  std::map<Role, uint32_t> next_number_{{Role::kRank, 1}};  // rank 0 is the learner
  std::map<Seat, Hired> hired_;                             // not all of them are ready yet
  std::set<std::string> starting_;                          // names
  // By epoch: who has not answered the Peers of that epoch yet, and what the coordinator is told
  // once all have.
  struct Spreading {
    Peers peers;
    std::set<std::string> missing;
  };
  std::map<uint64_t, Spreading> spreading_;
  bool spread_due_ = false;  // a message to oneself is on its way
  std::map<caf::actor_addr, Watched> watched_;
  std::map<std::string, Error> last_words_;  // by name
  uint32_t restarts_left_;
  bool learner_begun_ = false;
  bool begun_ = false;
  bool stopping_ = false;

  Membership membership_;
  std::map<std::string, NodeAddress> addresses_;  // of all members, joining ones included
  std::map<std::string, Node> nodes_;             // those that have been ready
  std::map<std::string, TimePoint> dismissed_;    // drained nodes: when their links are cut
  uint64_t pings_ = 0;
  std::optional<TimePoint> vacant_since_;  // a role has nobody
};

}  // namespace tracewise
