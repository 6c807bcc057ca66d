#include "actors/rank_actor.hpp"

#include <iterator>

namespace tracewise {

RankShell::behavior_type RankShell::make_behavior() {
  const auto call = [this](const char* state, const auto& body) {
    seen();
    set_state(state);
    const Outcome outcome = to_outcome(body());
    set_state("idle");
    return outcome;
  };
  return {
      [this](start_atom) {
        seen();
        return Outcome{};
      },
      [this, call](const RankMeeting& meeting) {
        return call("meeting the other ranks", [&] { return meet(meeting); });
      },
      [this](std::vector<SampleGroup>& groups) {
        seen();
        std::move(groups.begin(), groups.end(), std::back_inserter(batch_));
      },
      [this, call](train_atom, uint64_t version, double progress) {
        return call("training", [&]() -> Result<void> {
          TW_CHECK(trainer_, "the learner has met its ranks before");
          const std::vector<SampleGroup> batch = std::exchange(batch_, {});
          const auto report = trainer_->train(batch, version, progress, {});
          return report.ok() ? Result<void>() : Result<void>(report.error());
        });
      },
      [this, call](save_atom) {
        return call("sharing its optimizer's state", [&] {
          TW_CHECK(trainer_, "the learner has met its ranks before");
          return trainer_->save_optimizer({});
        });
      },
  };
}

Result<void> RankShell::meet(const RankMeeting& meeting) {
  TW_ASSIGN(trainer_,
            setup_.own_rank->meet(system(), meeting, *setup_.parts, setup_.options.deadlines));
  return meeting.restore ? trainer_->restore(nullptr, {}) : Result<void>();
}

void RankShell::let_go() {
  trainer_.reset();
  setup_.own_rank->leave();
}

}  // namespace tracewise
