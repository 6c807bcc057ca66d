#include "actors/builder_actor.hpp"

#include <algorithm>
#include <optional>
#include <variant>

#include "actors/parts.hpp"

namespace tracewise {

std::vector<float> step_advantages(const TracedRollout& traced, const SampleGroup& group) {
  const auto found =
      std::find_if(group.rollouts.begin(), group.rollouts.end(),
                   [&](const AdvantageRollout& r) { return r.sample == traced.rollout.sample; });
  std::vector<float> steps;
  if (found == group.rollouts.end()) return steps;
  for (const int32_t end : traced.step_ends) {
    steps.push_back(found->advantages.at(static_cast<size_t>(end) - 1));
  }
  return steps;
}

BuilderShell::behavior_type BuilderShell::make_behavior() {
  return {
      [this](start_atom) -> Outcome {
        set_state("idle");
        return {};
      },
      [this](Peers& peers) {
        seen();
        peers_ = std::move(peers);
        return peers_.epoch;
      },
      [this](uint32_t tracer, std::vector<TracedRollout>& rollouts) {
        seen();
        const auto count = static_cast<uint32_t>(rollouts.size());
        for (TracedRollout& traced : rollouts) take(std::move(traced));
        hand_on();
        send_to(peers_.tracers, tracer, grant_atom::value, setup_.index, count);
        set_state(assembler_.open_groups() > 0 ? "collecting groups" : "idle");
      },
      [this](grant_atom, uint32_t groups) {
        seen();
        credit_ += groups;
        hand_on();
      },
      [this](abandon_atom, const std::vector<GroupKey>& keys) {
        seen();
        for (const GroupKey& key : keys) {
          least_attempt_[key.group] = key.attempt + 1;
          assembler_.drop(key.group);
          logged_.erase(key.group);
        }
      },
  };
}

void BuilderShell::take(TracedRollout traced) {
  const GroupKey key = traced.rollout.key;
  const auto least = least_attempt_.find(key.group);
  if (least != least_attempt_.end() && key.attempt < least->second) return;
  const uint64_t position = key.group % setup_.options.groups_per_batch;
  if (traced.rollout.sample == 0 && position < setup_.options.log_rollouts &&
      !traced.rollout.failure.failed()) {
    logged_.insert_or_assign(key.group, LoggedRollout{0, traced, {}});
  }
  std::optional<BuiltGroup> built = assembler_.put(std::move(traced));
  if (!built) return;
  if (auto* failed = std::get_if<GroupFailed>(&*built)) {
    logged_.erase(key.group);
    services().log->warn(own_name() + ": group " + std::to_string(key.group) + ", attempt " +
                         std::to_string(key.attempt) + " failed: " + failed->failure.message);
    send(peers_.coordinator, std::move(*failed));
    return;
  }
  finish(std::get<SampleGroup>(std::move(*built)));
}

void BuilderShell::finish(SampleGroup group) {
  GroupParcel parcel;
  if (auto log = logged_.extract(group.key.group); !log.empty()) {
    log.mapped().advantages = step_advantages(log.mapped().traced, group);
    parcel.logged.push_back(std::move(log.mapped()));
  }
  least_attempt_.erase(group.key.group);
  parcel.group = std::move(group);
  waiting_.push_back(std::move(parcel));
}

void BuilderShell::hand_on() {
  std::vector<GroupParcel> groups;
  for (; credit_ > 0 && !waiting_.empty(); --credit_) {
    groups.push_back(std::move(waiting_.front()));
    waiting_.pop_front();
  }
  in_parts(
      std::move(groups),
      [](const GroupParcel& parcel) {
        size_t tokens = 0;
        for (const AdvantageRollout& r : parcel.group.rollouts) tokens += r.tokens.size();
        return tokens;
      },
      [this](std::vector<GroupParcel> part) {
        send(peers_.learner, setup_.index, std::move(part));
      });
}

}  // namespace tracewise
