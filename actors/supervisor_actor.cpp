#include "actors/supervisor_actor.hpp"

#include <caf/actor_system.hpp>

namespace tracewise {
namespace {

// What the outside world did wrong (weights that do not fit, options, a full disk) would meet a
// restarted generator as well; a library's failure may not.
bool may_pass(const Error& error) { return error.error_class == ErrorClass::kInternal; }

}  // namespace

SupervisorShell::behavior_type SupervisorShell::make_behavior() {
  set_down_handler([this](caf::down_msg& down) { on_down(down); });
  return {
      [this](Peers& peers) {
        seen();
        peers_ = std::move(peers);
        watch(peers_.coordinator, "coordinator");
        watch(peers_.learner, "learner");
        for (uint32_t i = 0; i < peers_.generators.size(); ++i) {
          watch(peers_.generators[i], "generator " + std::to_string(i), i);
        }
        for (size_t i = 0; i < peers_.tracers.size(); ++i) {
          watch(peers_.tracers[i], "tracer " + std::to_string(i));
        }
        for (size_t i = 0; i < peers_.builders.size(); ++i) {
          watch(peers_.builders[i], "builder " + std::to_string(i));
        }
        set_state("watching");
      },
      [this](start_atom) {
        seen();
        begun_ = true;
      },
      [this](failed_atom, const std::string& name, uint8_t error_class,
             const std::string& message) {
        seen();
        last_words_[name] = {static_cast<ErrorClass>(error_class), message};
        services().log->warn(name + ": " + message);
      },
      [this](stop_atom) {
        seen();
        end_all();
      },
  };
}

// The supervisor knows the actors of this moment, replaced generators included.
void SupervisorShell::end_all() {
  stopping_ = true;
  const auto end = [this](const auto& actor) { send_exit(actor, caf::exit_reason::user_shutdown); };
  end(peers_.coordinator);
  end(peers_.learner);
  for (const GeneratorActor& actor : peers_.generators) end(actor);
  for (const TracerActor& actor : peers_.tracers) end(actor);
  for (const BuilderActor& actor : peers_.builders) end(actor);
  quit(caf::exit_reason::user_shutdown);
}

void SupervisorShell::on_down(const caf::down_msg& down) {
  const auto found = watched_.find(down.source);
  if (stopping_ || found == watched_.end()) return;
  const Watched who = found->second;
  watched_.erase(found);
  Error reason{ErrorClass::kInternal, "it ended without a word: " + system().render(down.reason)};
  if (auto words = last_words_.extract(who.name); !words.empty()) reason = words.mapped();
  if (who.generator && begun_ && restarts_left_ > 0 && may_pass(reason)) {
    --restarts_left_;
    return restart(*who.generator, reason);
  }
  services().inbox.post_end(Error{reason.error_class, who.name + ": " + reason.message});
}

// The coordinator hears of the loss before anything of the new generator's, and the others hear of
// the new one once its engine stands.
void SupervisorShell::restart(uint32_t generator, const Error& reason) {
  const std::string name = "generator " + std::to_string(generator);
  services().log->warn(name + " is restarted, " + std::to_string(restarts_left_) +
                       " restarts are left");
  const GeneratorActor replacement = setup_.spawn_generator(generator);
  watch(replacement, name, generator);
  peers_.generators.at(generator) = replacement;
  ++peers_.epoch;
  send(peers_.coordinator, lost_atom::value, generator, reason.message);
  send(peers_.coordinator, peers_);
  const auto limit = std::chrono::milliseconds(setup_.options.deadlines.start_ms);
  // The epoch tells it from the wait for a predecessor, whose end may come later.
  const std::string wait = "its start, epoch " + std::to_string(peers_.epoch);
  entry().begin_wait(wait, name, now(), now() + limit);
  request(replacement, limit, start_atom::value, peers_)
      .then(
          [this, name, wait](const Outcome& outcome) {
            entry().end_wait(wait);
            if (!outcome.ok) {
              const Error error = to_error(outcome);
              services().inbox.post_end(Error{error.error_class, name + ": " + error.message});
              return;
            }
            send(peers_.learner, peers_);
            for (const TracerActor& tracer : peers_.tracers) send(tracer, peers_);
            for (const BuilderActor& builder : peers_.builders) send(builder, peers_);
            for (const GeneratorActor& other : peers_.generators) send(other, peers_);
          },
          [this, name, wait](caf::error& error) {
            entry().end_wait(wait);
            if (error != caf::sec::request_timeout) return;  // it died again: on_down knows
            services().inbox.post_end(
                Error{ErrorClass::kDeadline, name + " was not ready within " +
                                                 std::to_string(setup_.options.deadlines.start_ms) +
                                                 " ms (deadlines.start_ms)"});
          });
}

}  // namespace tracewise
