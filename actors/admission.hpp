// Staleness is decided here and nowhere else: when a group may be issued, and what the learner
// refuses. Pure functions; any thread may call them.
#pragma once

#include <cstdint>
#include <limits>

namespace tracewise {

// How many groups may have been issued in all while `version` is the newest committed weights
// version. The batch that makes version v+1 consumes groups_per_batch groups, so at most
// (max_staleness + 1) batches of groups are on their way at any time.
constexpr uint64_t issue_limit(uint64_t version, uint64_t max_staleness,
                               uint64_t groups_per_batch) {
  constexpr uint64_t kMax = std::numeric_limits<uint64_t>::max();
  if (groups_per_batch == 0) return 0;
  if (max_staleness >= kMax - version - 1) return kMax;
  const uint64_t batches = version + 1 + max_staleness;
  return batches > kMax / groups_per_batch ? kMax : batches * groups_per_batch;
}

// The one rule of flow control. `issued_groups` counts each group once, whatever its attempts.
constexpr bool may_issue(uint64_t issued_groups, uint64_t version, uint64_t max_staleness,
                         uint64_t groups_per_batch) {
  return issued_groups < issue_limit(version, max_staleness, groups_per_batch);
}

// Whether groups make a batch: groups_per_batch of them with a signal, or so many in all that no
// more may be left out for new ones.
constexpr bool is_batch(uint64_t groups, uint64_t with_signal, uint64_t groups_per_batch,
                        uint64_t max_refilled_groups) {
  return with_signal >= groups_per_batch || groups >= groups_per_batch + max_refilled_groups;
}

// The learner's check of the same bound: whether a group sampled with `issue_version` weights is
// too old to be trained on by a learner that holds `learner_version`.
constexpr bool is_stale(uint64_t issue_version, uint64_t learner_version, uint64_t max_staleness) {
  return learner_version > issue_version && learner_version - issue_version > max_staleness;
}

}  // namespace tracewise
