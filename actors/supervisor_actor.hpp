// The supervisor: nobody dies unnoticed. A generator that died is replaced while restarts are left,
// because its groups can be issued again; any other death, and a failure that a restart would meet
// again, ends the run with one sentence that names the actor.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "actors/run_options.hpp"
#include "actors/shell.hpp"

namespace tracewise {

struct SupervisorSetup {
  std::function<GeneratorActor(uint32_t index)> spawn_generator;
  RunOptions options;
};

class SupervisorShell final : public Shell<SupervisorActor> {
 public:
  SupervisorShell(caf::actor_config& config, ShellContext context, SupervisorSetup setup)
      : Shell(config, std::move(context)),
        setup_(std::move(setup)),
        restarts_left_(setup_.options.generator_restarts) {}

 protected:
  behavior_type make_behavior() override;
  void let_go() override { setup_.spawn_generator = nullptr; }

 private:
  struct Watched {
    std::string name;
    std::optional<uint32_t> generator;
  };

  template <class Handle>
  void watch(const Handle& handle, std::string name, std::optional<uint32_t> generator = {}) {
    watched_[handle.address()] = {std::move(name), generator};
    this->monitor(handle);
  }
  void end_all();
  void on_down(const caf::down_msg& down);
  void restart(uint32_t generator, const Error& reason);

  SupervisorSetup setup_;
  std::map<caf::actor_addr, Watched> watched_;
  std::map<std::string, Error> last_words_;  // by name
  uint32_t restarts_left_;
  bool begun_ = false;
  bool stopping_ = false;
};

}  // namespace tracewise
