// The learner's buffer: sample groups wait here until a batch of them is complete.
//
// max_staleness = 0: batch b is exactly the groups [b * n, (b + 1) * n), n = groups_per_batch.
// Neither the order in which they arrive nor who made them changes a batch, so training is
// bit-reproducible.
//
// max_staleness > 0: a batch is the n groups with the oldest weights among those that are here, so
// one slow group never holds up the others. A group that has become too old meanwhile is refused by
// is_stale() and goes back to the coordinator, which issues it again; its id stays the same, so the
// number of issued groups, and with it the admission rule, is not disturbed.
//
// max_refilled_groups > 0: groups without a signal fill no place of a batch. It has them besides,
// in the order above, up to the last group that it needs; so each group is in one batch.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <vector>

#include "messages/records.hpp"

namespace tracewise {

// Not thread-safe; owned by the learner.
class BatchBuffer {
 public:
  struct Options {
    uint64_t groups_per_batch = 1;     // >= 1
    uint64_t max_staleness = 0;        // versions
    uint64_t max_refilled_groups = 0;  // see is_batch() in actors/admission.hpp
  };

  enum class Put : uint8_t {
    kTaken,
    kDuplicate,  // this group is in the buffer or was trained on, perhaps as another attempt
    kStale,      // too old for the learner's version
  };

  // Groups below `first_group` and those in `trained` were trained on before.
  explicit BatchBuffer(Options options, uint64_t first_group = 0,
                       const std::vector<uint64_t>& trained = {});

  // `version` is the learner's. A group that is not taken leaves the buffer as it was.
  Put put(SampleGroup group, uint64_t version);

  // Takes out what has become too old for the learner's new version; the groups are to be issued
  // again. Call it whenever the version changes.
  std::vector<GroupKey> drop_stale(uint64_t version);

  // Whether a whole batch is here.
  bool ready() const;

  // The next batch: the least groups that are one, ascending by group id. They count as trained
  // from now on. Only when ready().
  std::vector<SampleGroup> take();

  uint64_t size() const { return groups_.size(); }

 private:
  bool was_trained(uint64_t group) const {
    return group < first_untrained_ || trained_.count(group) > 0;
  }
  void mark_trained(uint64_t group);
  bool is_whole(uint64_t groups, uint64_t with_signal) const;

  Options options_;
  uint64_t first_untrained_;    // all below are trained
  std::set<uint64_t> trained_;  // trained ones above it
  std::map<uint64_t, SampleGroup> groups_;
  uint64_t with_signal_ = 0;  // of groups_
};

}  // namespace tracewise
