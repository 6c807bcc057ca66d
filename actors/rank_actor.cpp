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
        return call("training", [&] { return train(version, progress); });
      },
      [this, call](save_atom) {
        return call("sharing its optimizer's state", [&] {
          TW_CHECK(trainer_, "the learner has met its ranks before");
          return trainer_->save_optimizer({});
        });
      },
      [this](offer_atom, const WeightsManifest& manifest) {
        seen();
        set_state("offering weights");
        auto place = offer(manifest);
        set_state("idle");
        return place.ok() ? RankOffer{{}, std::move(*place)}
                          : RankOffer{to_outcome(place.error()), {}};
      },
  };
}

Result<void> RankShell::meet(const RankMeeting& meeting) {
  TW_ASSIGN(trainer_,
            setup_.own_rank->meet(system(), meeting, *setup_.parts, setup_.options.deadlines));
  if (meeting.serve_weights) {
    TW_ASSIGN(sender_, setup_.make_sender());
  }
  return meeting.restore ? trainer_->restore(nullptr, {}) : Result<void>();
}

Result<void> RankShell::train(uint64_t version, double progress) {
  TW_CHECK(trainer_, "the learner has met its ranks before");
  const std::vector<SampleGroup> batch = std::exchange(batch_, {});
  weights_.reset();
  const auto report = trainer_->train(batch, version, progress, {});
  if (!report.ok()) return report.error();
  if (sender_) take_snapshot(version + 1);
  return {};
}

void RankShell::take_snapshot(uint64_t version) {
  weights_ =
      trainer_->weights(version, [this](uint64_t bytes) { return sender_->allocate(bytes); });
}

// A batch without a rollout makes a version of the weights that there are already.
Result<WeightsPlace> RankShell::offer(const WeightsManifest& manifest) {
  TW_CHECK(trainer_ && sender_, "the learner has met its ranks before, to serve weights");
  if (!weights_) take_snapshot(manifest.version);
  const WeightsManifest& own = weights_->manifest();
  if (own.bytes != manifest.bytes || own.checksum != manifest.checksum) {
    return Error{ErrorClass::kInternal, "its " + name_of(manifest) + " is not rank 0's: checksum " +
                                            std::to_string(own.checksum) + " instead of " +
                                            std::to_string(manifest.checksum)};
  }
  const auto limit = std::chrono::milliseconds(setup_.options.deadlines.weights_ms);
  return sender_->publish({manifest, weights_->storage()}, now() + limit);
}

void RankShell::let_go() {
  weights_.reset();
  sender_.reset();
  trainer_.reset();
  setup_.own_rank->leave();
}

}  // namespace tracewise
