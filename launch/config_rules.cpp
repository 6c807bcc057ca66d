#include "launch/config_rules.hpp"

namespace tracewise {
namespace {

// Kind step_group is of the steps alone.
std::optional<Conflict> find_base_conflict(const AdvantageOptions& a) {
  const bool has_base = a.kind != AdvantageKind::kStepGroup;
  if (a.length_penalty > 0 && !has_base) {
    return Conflict{{"advantage.length_penalty", "advantage.kind"},
                    "a length penalty acts on the base, which kind step_group doesn't have"};
  }
  if (a.base != OutcomeBase::kGrpo && !has_base) {
    return Conflict{{"advantage.base", "advantage.kind"}, "kind step_group doesn't have a base"};
  }
  if (!a.divide_by_std && (a.base != OutcomeBase::kGrpo || !has_base)) {
    return Conflict{{"advantage.divide_by_std", has_base ? "advantage.base" : "advantage.kind"},
                    "only base grpo divides by the group's standard deviation"};
  }
  return std::nullopt;
}

}  // namespace

std::optional<Conflict> find_algorithm_conflict(const Config& c) {
  const AdvantageOptions& a = c.group.advantage;
  const LossOptions& loss = c.trainer.loss;
  if (auto conflict = find_base_conflict(a)) return conflict;
  if (a.length_aware && a.gamma != 1) {
    return Conflict{{"advantage.gamma", "advantage.length_aware"},
                    "length_aware takes a step's discount from its length instead of gamma"};
  }
  if (c.group.shuffle_values && !a.needs_values() && loss.step_dpo_weight == 0) {
    return Conflict{{"advantage.shuffle_values", "advantage.kind"},
                    "kind outcome has no use for values, shuffled or not"};
  }
  if (loss.ratio == LossRatio::kSequence && a.needs_values()) {
    return Conflict{{"loss.ratio", "advantage.kind"},
                    "a ratio of the whole rollout is clipped against one advantage of the whole "
                    "rollout, and this kind gives each step its own; take kind outcome or ratio "
                    "token"};
  }
  if (loss.importance_cap > 0 && loss.importance_cap < 1) {
    return Conflict{{"loss.importance_cap"},
                    "a cap below 1 would cut the weights of fresh tokens too; take at least 1, or "
                    "0 for off"};
  }
  if (loss.step_dpo_weight > 0 && c.group.preference.max_pairs == 0) {
    return Conflict{{"loss.step_dpo_weight", "preference.max_pairs"},
                    "the step-DPO loss needs preference pairs"};
  }
  if (c.run.max_refilled_groups > 0 && c.group.uniform_groups == UniformGroups::kKeep) {
    return Conflict{{"run.max_refilled_groups", "advantage.uniform_groups"},
                    "where uniform groups are kept, none is left out for a new one"};
  }
  if (c.probe.mode != ProbeMode::kNone && c.probe.mode != ProbeMode::kLikelihood &&
      c.probe.continuations > 1 && c.probe.sampling.temperature == 0) {
    return Conflict{{"probe.continuations", "probe.temperature"},
                    "at temperature 0 all continuations of a state are the same"};
  }
  return std::nullopt;
}

std::optional<Conflict> find_training_conflict(const Config& c) {
  const AdvantageOptions& a = c.group.advantage;
  const bool probes = c.probe.mode != ProbeMode::kNone;
  if (!probes && a.needs_values()) {
    return Conflict{{"probe.mode", "advantage.kind"},
                    "step advantages need values; probe, or take kind outcome"};
  }
  if (!probes && c.trainer.loss.step_dpo_weight > 0) {
    return Conflict{{"probe.mode", "loss.step_dpo_weight"}, "step preferences need values"};
  }
  if (c.run.group_size == 1 && !a.needs_values() && a.base != OutcomeBase::kReinforcePp) {
    return Conflict{{"run.group_size", "advantage.base"},
                    "the advantage is against the group, and a group of one has no other rollout"};
  }
  if (c.run.group_size > 1 && c.run.sampling.temperature == 0) {
    return Conflict{{"sampling.temperature", "run.group_size"},
                    "at temperature 0 all rollouts of a group are the same, so none is better than "
                    "another"};
  }
  return std::nullopt;
}

}  // namespace tracewise
