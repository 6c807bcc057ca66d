#include "actors/rank_store_actor.hpp"

#include <caf/scoped_actor.hpp>
#include <optional>
#include <thread>

namespace tracewise {
namespace {

// The head answers at once, or is gone.
constexpr std::chrono::seconds kAnswer{10};
// Between two looks for a key that is not there yet. Ranks meet once a run.
constexpr std::chrono::milliseconds kPause{20};

Error head_is_gone(const std::string& key) {
  return io_error("the head did not answer what '" + key + "' of the learner's ranks is");
}

}  // namespace

RankStoreShell::behavior_type RankStoreShell::make_behavior() {
  return {
      [this](put_atom, const std::string& key, const std::string& value) {
        seen();
        if (values_.emplace(key, value).second) return Outcome{};
        return to_outcome(bad_input("'" + key + "' of the learner's ranks was set before"));
      },
      [this](get_atom, const std::string& key) {
        seen();
        const auto found = values_.find(key);
        return found == values_.end() ? caf::result<bool, std::string>(false, std::string())
                                      : caf::result<bool, std::string>(true, found->second);
      },
  };
}

Result<void> MessageRankStore::set(const std::string& key, const std::string& value) {
  Result<void> done = head_is_gone(key);
  caf::scoped_actor self(system_);
  self->request(store_, kAnswer, put_atom::value, key, value)
      .receive(
          [&](const Outcome& outcome) {
            done = outcome.ok ? Result<void>() : Result<void>(to_error(outcome));
          },
          [](const caf::error&) {});
  return done;
}

Result<std::string> MessageRankStore::get(const std::string& key, TimePoint deadline) {
  caf::scoped_actor self(system_);
  while (!stop_.stop_requested()) {
    std::optional<std::string> value;
    bool answered = false;
    self->request(store_, kAnswer, get_atom::value, key)
        .receive(
            [&](bool there, std::string& text) {
              answered = true;
              if (there) value = std::move(text);
            },
            [](const caf::error&) {});
    if (value) return std::move(*value);
    if (!answered) return head_is_gone(key);
    if (std::chrono::steady_clock::now() + kPause >= deadline)
      return Error{ErrorClass::kDeadline, "no rank of the learner set '" + key + "'"};
    std::this_thread::sleep_for(kPause);
  }
  return Error{ErrorClass::kCancelled, "the wait for '" + key + "' of the ranks was ended"};
}

}  // namespace tracewise
