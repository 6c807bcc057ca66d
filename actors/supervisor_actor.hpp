// The supervisor fills the seats of a run and nobody dies unnoticed. Whoever held a seat is
// replaced under a new number while restarts are left, because its groups can be issued again; any
// other death, and a failure that a replacement would meet again, ends the run with one sentence
// that names the actor.
//
//   hire -> start -> ready -> told to all (Peers) -> gets work -> lost -> hire ...
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <variant>

#include "actors/run_options.hpp"
#include "actors/shell.hpp"

namespace tracewise {

using SeatActor = std::variant<GeneratorActor, TracerActor, BuilderActor>;

struct SupervisorSetup {
  std::function<SeatActor(const Seat&)> hire;
  RunOptions options;
};

class SupervisorShell final : public Shell<SupervisorActor> {
 public:
  SupervisorShell(caf::actor_config& config, ShellContext context, SupervisorSetup setup)
      : Shell(config, std::move(context)),
        setup_(std::move(setup)),
        restarts_left_(setup_.options.restarts) {}

 protected:
  behavior_type make_behavior() override;
  void let_go() override { setup_.hire = nullptr; }

 private:
  struct Watched {
    std::string name;
    std::optional<Seat> seat;  // none: the coordinator, the learner
  };

  template <class Handle>
  void watch(const Handle& handle, std::string name, std::optional<Seat> seat = {}) {
    watched_[handle.address()] = {std::move(name), seat};
    this->monitor(handle);
  }
  void begin(Peers peers);
  void hire(Role role);
  template <class Handle>
  void start(const Handle& actor, const std::string& name, std::function<void()> ready);
  void seat_ready(const Seat& seat, const SeatActor& actor);
  void learner_ready();
  void spread();
  template <class Handle>
  void tell(const Handle& actor, const std::string& name);
  void told(uint64_t epoch, const std::string& name);
  void end_all();
  void on_down(const caf::down_msg& down);
  void lose(const Seat& seat, const Error& reason, bool blame);
  void forget(const std::string& name);

  SupervisorSetup setup_;
  std::map<Role, uint32_t> next_number_;
  std::map<Seat, SeatActor> hired_;  // not all of them are ready yet
  std::set<std::string> starting_;   // names
  // By epoch: who has not answered the Peers of that epoch yet, and what the coordinator is told
  // once all have.
  struct Spreading {
    Peers peers;
    std::set<std::string> missing;
  };
  std::map<uint64_t, Spreading> spreading_;
  std::map<caf::actor_addr, Watched> watched_;
  std::map<std::string, Error> last_words_;  // by name
  uint32_t restarts_left_;
  bool begun_ = false;
  bool stopping_ = false;
};

}  // namespace tracewise
