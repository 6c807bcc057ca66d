#include "actors/rank_store_actor.hpp"

#include <optional>

#include "actors/ask.hpp"

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
  Outcome outcome;
  const auto asked = ask_actor(
      system_, {key, "rank store", kAnswer}, [&](Outcome& got) { outcome = std::move(got); },
      store_, put_atom::value, key, value);
  if (!asked.ok()) return head_is_gone(key);
  if (!outcome.ok) return to_error(outcome);
  return {};
}

Result<std::string> MessageRankStore::get(const std::string& key, TimePoint deadline) {
  const Wait wait(key, "the other ranks", deadline);
  while (!stop_.stop_requested()) {
    std::optional<std::string> value;
    const auto asked = ask_actor(
        system_, {key, "rank store", kAnswer},
        [&](bool there, std::string& text) {
          if (there) value = std::move(text);
        },
        store_, get_atom::value, key);
    if (value) return std::move(*value);
    if (!asked.ok()) return head_is_gone(key);
    if (std::chrono::steady_clock::now() + kPause >= deadline)
      return Error{ErrorClass::kDeadline, "no rank of the learner set '" + key + "'"};
    Wait("another look", "itself", std::chrono::steady_clock::now() + kPause).sleep();
  }
  return Error{ErrorClass::kCancelled, "the wait for '" + key + "' of the ranks was ended"};
}

}  // namespace tracewise
