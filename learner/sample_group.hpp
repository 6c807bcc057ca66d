// From the traced rollouts of a group to what the learner trains on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <variant>
#include <vector>

#include "learner/advantage.hpp"
#include "learner/preference.hpp"
#include "messages/records.hpp"

namespace tracewise {

// What becomes of a group whose (penalised) rewards with their shaping are all equal. Its outcome
// advantages are 0, but for base reinforce_pp, which compares with the whole batch.
enum class UniformGroups : uint8_t {
  kDrop,        // carries no rollouts (DAPO)
  kKeepSolved,  // is kept if every reward is 1 and the responses are not all the same: their steps
                // still differ, which compresses. Of equal responses none is better than another.
  kKeep,
};

struct SampleGroupOptions {
  AdvantageOptions advantage;
  PreferenceOptions preference;
  UniformGroups uniform_groups = UniformGroups::kDrop;
  uint32_t min_good_rollouts = 2;  // >= 1; with fewer the group has failed
  bool shuffle_values = false;     // control: V_1..V_{K-1} of each rollout permuted, V_0 kept
  uint64_t seed = 0;               // of the permutation, with the group and the sample
};

using BuiltGroup = std::variant<SampleGroup, GroupFailed>;

// Builds one group from all of its rollouts, in any order: one for each sample, of one key.
//
// A rollout is good if it has not failed and, where the advantage kind needs values, has them.
// Failed rollouts enter neither the group's mean and std nor the loss. The stats are those of the
// true values, shuffled or not; their probe and generate costs count failed rollouts too.
BuiltGroup build_group(std::vector<TracedRollout> rollouts, const SampleGroupOptions& options);

// Whether a group of these good rollouts will be trained on: options.uniform_groups decides where
// all rewards are equal. Needs no values, so that a group without a signal need not be probed.
bool carries_signal(std::span<const TracedRollout> good, const SampleGroupOptions& options);

// Sums over the rollouts: counts, rewards and value statistics over the good ones, costs over all.
GroupStats group_stats(std::span<const TracedRollout> rollouts);

// The part of an advantage that needs the whole batch: where options.whitens_batch(), the
// advantages are whitened over all tokens of all groups, in the order given; else nothing. To be
// called once for the groups of an optimizer batch, before they are trained on.
void finish_batch(std::span<SampleGroup> groups, const AdvantageOptions& options);

// [K] the values with V_1..V_{K-1} permuted by a generator of (seed, group, sample).
std::vector<float> shuffled_values(std::vector<float> values, uint64_t seed, uint64_t group,
                                   uint32_t sample);

// Collects traced rollouts until a group is whole. One thread owns it.
class GroupAssembler {
 public:
  explicit GroupAssembler(SampleGroupOptions options) : options_(options) {}

  // The group, if this was its last rollout. A rollout of an older attempt than one already seen is
  // ignored, as is a sample that is already there; a newer attempt replaces the older one's
  // rollouts.
  std::optional<BuiltGroup> put(TracedRollout rollout);

  // Forgets a group that will not be completed.
  void drop(uint64_t group);

  size_t open_groups() const { return open_.size(); }
  uint64_t ignored() const { return ignored_; }  // rollouts, see put()

 private:
  struct OpenGroup {
    uint32_t attempt = 0;
    std::vector<TracedRollout> rollouts;
  };

  SampleGroupOptions options_;
  std::map<uint64_t, OpenGroup> open_;  // by group
  uint64_t ignored_ = 0;
};

}  // namespace tracewise
