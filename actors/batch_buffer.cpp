#include "actors/batch_buffer.hpp"

#include <algorithm>
#include <utility>

#include "actors/admission.hpp"

namespace tracewise {

BatchBuffer::BatchBuffer(Options options, uint64_t first_group,
                         const std::vector<uint64_t>& trained)
    : options_(options), first_untrained_(first_group) {
  TW_CHECK(options_.groups_per_batch > 0, "a batch needs at least one group");
  for (const uint64_t group : trained) mark_trained(group);
}

BatchBuffer::Put BatchBuffer::put(SampleGroup group, uint64_t version) {
  const uint64_t id = group.key.group;
  if (was_trained(id) || groups_.count(id) > 0) return Put::kDuplicate;
  if (is_stale(group.issue_version, version, options_.max_staleness)) return Put::kStale;
  groups_.emplace(id, std::move(group));
  return Put::kTaken;
}

std::vector<GroupKey> BatchBuffer::drop_stale(uint64_t version) {
  std::vector<GroupKey> dropped;
  for (auto it = groups_.begin(); it != groups_.end();) {
    if (is_stale(it->second.issue_version, version, options_.max_staleness)) {
      dropped.push_back(it->second.key);
      it = groups_.erase(it);
    } else {
      ++it;
    }
  }
  return dropped;
}

bool BatchBuffer::ready() const {
  const uint64_t n = options_.groups_per_batch;
  if (groups_.size() < n) return false;
  if (options_.max_staleness > 0) return true;
  // Ids are distinct and none is below first_untrained_: the n lowest are consecutive if the n-th
  // is.
  return std::next(groups_.begin(), static_cast<int64_t>(n - 1))->first == first_untrained_ + n - 1;
}

std::vector<SampleGroup> BatchBuffer::take() {
  TW_CHECK(ready(), "take() of a batch that is not complete");
  std::vector<std::pair<uint64_t, uint64_t>> order;  // (issue version or 0, group id)
  for (const auto& [id, group] : groups_) {
    order.emplace_back(options_.max_staleness > 0 ? group.issue_version : 0, id);
  }
  std::sort(order.begin(), order.end());
  order.resize(options_.groups_per_batch);
  std::vector<SampleGroup> batch;
  for (const auto& [age, id] : order) {
    batch.push_back(std::move(groups_.extract(id).mapped()));
    mark_trained(id);
  }
  std::sort(batch.begin(), batch.end(),
            [](const SampleGroup& a, const SampleGroup& b) { return a.key < b.key; });
  return batch;
}

void BatchBuffer::mark_trained(uint64_t group) {
  trained_.insert(group);
  while (!trained_.empty() && *trained_.begin() <= first_untrained_) {
    if (*trained_.begin() == first_untrained_) ++first_untrained_;
    trained_.erase(trained_.begin());
  }
}

}  // namespace tracewise
