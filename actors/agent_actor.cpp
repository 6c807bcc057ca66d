#include "actors/agent_actor.hpp"

#include <algorithm>

namespace tracewise {

AgentShell::behavior_type AgentShell::make_behavior() {
  set_down_handler([this](caf::down_msg&) {
    end(Error{ErrorClass::kCancelled, "the connection with the head broke"});
  });
  monitor(setup_.factory.supervisor);
  heard_ = now();
  send(self(), tick_atom::value);
  set_state("joining");
  return {
      [this](hire_atom, const Seat& seat) {
        seen();
        set_state("serving");
        const Hired hired = setup_.factory.hire(seat);
        hired_.emplace(seat, hired);
        return hired;
      },
      [this](ping_atom, uint64_t number) {
        seen();
        heard_ = now();
        send(setup_.factory.supervisor, pong_atom::value, setup_.node, number, setup_.parted());
      },
      [this](stop_atom, bool over, const std::string& why) {
        seen();
        services().log->info("the head lets this node go: " + why);
        if (over) return end(RunSummary{});
        end(Error{ErrorClass::kCancelled, "the head has given this node up: " + why});
      },
      [this](tick_atom) {
        const auto limit = std::chrono::milliseconds(setup_.membership.lost_ms);
        entry().begin_wait("a ping", "head", heard_, heard_ + limit);
        if (now() - heard_ >= limit) {
          return end(Error{ErrorClass::kCancelled, "the head was silent for " +
                                                       std::to_string(setup_.membership.lost_ms) +
                                                       " ms (cluster.lost_ms)"});
        }
        delayed_send(self(), std::chrono::milliseconds(setup_.membership.heartbeat_ms),
                     tick_atom::value);
      },
  };
}

void AgentShell::let_go() {
  hired_.clear();
  setup_.factory = SeatFactory{};
  setup_.parted = nullptr;
}

void AgentShell::end(Result<RunSummary> why) {
  for (const auto& [seat, hired] : hired_) {
    if (hired.generator) send_exit(hired.generator, caf::exit_reason::user_shutdown);
    if (hired.tracer) send_exit(hired.tracer, caf::exit_reason::user_shutdown);
    if (hired.builder) send_exit(hired.builder, caf::exit_reason::user_shutdown);
    if (hired.rank) send_exit(hired.rank, caf::exit_reason::user_shutdown);
  }
  services().inbox.post_end(std::move(why));
  quit(caf::exit_reason::user_shutdown);
}

}  // namespace tracewise
