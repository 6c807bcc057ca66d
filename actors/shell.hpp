// What every actor of ours has: a name, its entry in the registry, a supervisor to report to, and
// an end that is counted. The actors themselves are shells around plain classes.
#pragma once

#include <caf/exit_reason.hpp>
#include <caf/resumable.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <chrono>
#include <exception>
#include <memory>
#include <string>
#include <utility>

#include "actors/node_services.hpp"
#include "actors/signatures.hpp"
#include "actors/wire.hpp"

namespace tracewise {

struct ShellContext {
  std::shared_ptr<NodeServices> services;  // shared with the node's other actors and its starter
  SupervisorActor supervisor;              // none for the supervisor itself
  std::string name;                        // "generator 1"
  std::string role;                        // "generator"
};

template <class Handle>
class Shell : public Handle::base {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  Shell(caf::actor_config& config, ShellContext context)
      : Handle::base(config), context_(std::move(context)) {
    entry_ = context_.services->registry.enlist(context_.name, context_.role, now());
    context_.services->gate.enter();
    // A library's exception is caught here, once, and becomes this actor's last words.
    this->set_exception_handler([this](std::exception_ptr& thrown) -> caf::error {
      try {
        std::rethrow_exception(thrown);
      } catch (const std::exception& e) {
        report({ErrorClass::kInternal, e.what()});
      } catch (...) {
        report({ErrorClass::kInternal, "something that is no exception was thrown"});
      }
      return caf::exit_reason::unhandled_exception;
    });
  }

  const char* name() const override { return context_.role.c_str(); }

  // What a handler waits for is this actor's wait.
  caf::resumable::resume_result resume(caf::execution_unit* unit, size_t most) override {
    const WaitsScope scope(entry_ == nullptr ? nullptr : entry_->waits());
    if (this->getf(caf::abstract_actor::is_detached_flag) && !std::exchange(named_, true))
      name_this_thread(context_.name);
    return Handle::base::resume(unit, most);
  }

  // Only now is the actor gone: CAF may refer to it a while after its end, by a tick that is due
  // later, say, and an actor system must not be destroyed meanwhile.
  ~Shell() override { context_.services->gate.leave(); }

  // Runs in the actor's own thread when it ends, whatever the reason. Handles are given up, because
  // peers that hold each other would never be freed.
  void on_exit() override {
    if (entry_ == nullptr) return;
    let_go();
    peers_ = Peers{};
    context_.supervisor = SupervisorActor{};
    entry_.reset();
  }

 protected:
  static TimePoint now() { return std::chrono::steady_clock::now(); }
  Handle self() { return Handle{this}; }
  NodeServices& services() { return *context_.services; }
  RegistryEntry& entry() { return *entry_; }
  const std::string& own_name() const { return context_.name; }

  // What the actor owns beyond its members' lifetimes: engines, trainers, files.
  virtual void let_go() {}

  // To be called at the start of each message handler.
  void seen() { entry_->handled(this->mailbox().size()); }
  void set_state(std::string_view state) { entry_->set_state(state, now()); }

  // Sends to who holds that number, if anybody still does: the work of those that are gone is
  // issued again by the coordinator.
  template <class Actors, class... Ts>
  void send_to(const Actors& actors, uint32_t number, Ts&&... message) {
    const auto found = actors.find(number);
    if (found != actors.end()) this->send(found->second, std::forward<Ts>(message)...);
  }

  // Tells the supervisor that the actor of `seat` was waited for in vain.
  void report_lost(const Seat& seat, const std::string& reason) {
    this->send(context_.supervisor, lost_atom::value, seat, reason);
  }

  // Tells the supervisor that a seat of a draining node has nothing to do any more.
  void report_drained(const Seat& seat) {
    this->send(context_.supervisor, drained_atom::value, seat);
  }

  // Tells the supervisor why, and ends this actor.
  void fail(const Error& error) {
    report(error);
    this->quit(caf::exit_reason::unhandled_exception);
  }

  // For handlers: true if `result` is fine, else the actor has failed.
  template <class T>
  bool good(const Result<T>& result) {
    if (!result.ok()) fail(result.error());
    return result.ok();
  }

  Peers peers_;

 private:
  void report(const Error& error) {
    if (!context_.supervisor) {  // the supervisor itself: nobody else would notice
      services().inbox.post_end(Error{error.error_class, context_.name + ": " + error.message});
      return;
    }
    this->send(context_.supervisor, failed_atom::value, context_.name,
               static_cast<uint8_t>(error.error_class), error.message);
  }

  ShellContext context_;
  std::shared_ptr<RegistryEntry> entry_;  // shared with the registry, which shows it
  bool named_ = false;                    // its thread, where it has one of its own
};

inline Outcome to_outcome(const Result<void>& result) {
  if (result.ok()) return {};
  return {false, static_cast<uint8_t>(result.error().error_class), result.error().message};
}

inline Error to_error(const Outcome& outcome) {
  return {static_cast<ErrorClass>(outcome.error_class), outcome.message};
}

}  // namespace tracewise
