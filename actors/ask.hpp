// Asking an actor from a thread that is none, with a deadline that the shell can show.
#pragma once

#include <caf/actor_system.hpp>
#include <caf/error.hpp>
#include <caf/scoped_actor.hpp>
#include <caf/sec.hpp>
#include <chrono>
#include <string>
#include <string_view>
#include <utility>

#include "messages/result.hpp"
#include "messages/waits.hpp"

namespace tracewise {

// Whom a thread asks, for what, and for how long at most.
struct Question {
  std::string_view what;
  std::string_view who;
  std::chrono::milliseconds limit;
};

// Calls on_answer(what `actor` says to `message`); blocks until then. kDeadline: it said nothing in
// time. kIo: it is gone.
template <class OnAnswer, class Actor, class... Ts>
[[nodiscard]] Result<void> ask_actor(caf::actor_system& system, const Question& question,
                                     OnAnswer on_answer, const Actor& actor, Ts&&... message) {
  Result<void> answered;
  const Wait wait(question.what, question.who, std::chrono::steady_clock::now() + question.limit);
  caf::scoped_actor self(system);
  self->request(actor, question.limit, std::forward<Ts>(message)...)
      .receive(std::move(on_answer), [&](const caf::error& error) {
        const bool late = error == caf::sec::request_timeout;
        answered = Error{
            late ? ErrorClass::kDeadline : ErrorClass::kIo,
            std::string(question.who) +
                (late ? " did not answer within " + std::to_string(question.limit.count()) + " ms"
                      : " is gone")};
      });
  return answered;
}

}  // namespace tracewise
