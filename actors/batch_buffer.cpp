#include "actors/batch_buffer.hpp"

#include <algorithm>
#include <utility>

#include "actors/admission.hpp"

namespace tracewise {
namespace {

bool has_signal(const SampleGroup& group) { return !group.rollouts.empty(); }

}  // namespace

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
  with_signal_ += has_signal(group) ? 1 : 0;
  groups_.emplace(id, std::move(group));
  return Put::kTaken;
}

std::vector<GroupKey> BatchBuffer::drop_stale(uint64_t version) {
  std::vector<GroupKey> dropped;
  for (auto it = groups_.begin(); it != groups_.end();) {
    if (is_stale(it->second.issue_version, version, options_.max_staleness)) {
      dropped.push_back(it->second.key);
      with_signal_ -= has_signal(it->second) ? 1 : 0;
      it = groups_.erase(it);
    } else {
      ++it;
    }
  }
  return dropped;
}

bool BatchBuffer::ready() const {
  if (!is_whole(groups_.size(), with_signal_)) return false;
  if (options_.max_staleness > 0) return true;
  uint64_t groups = 0, with_signal = 0;
  for (const auto& [id, group] : groups_) {
    if (id != first_untrained_ + groups) return false;
    with_signal += has_signal(group) ? 1 : 0;
    if (is_whole(++groups, with_signal)) return true;
  }
  return false;
}

std::vector<SampleGroup> BatchBuffer::take() {
  TW_CHECK(ready(), "take() of a batch that is not complete");
  std::vector<std::pair<uint64_t, uint64_t>> order;  // (issue version or 0, group id)
  for (const auto& [id, group] : groups_) {
    order.emplace_back(options_.max_staleness > 0 ? group.issue_version : 0, id);
  }
  std::sort(order.begin(), order.end());
  std::vector<SampleGroup> batch;
  uint64_t with_signal = 0;
  for (const auto& [age, id] : order) {
    if (is_whole(batch.size(), with_signal)) break;
    batch.push_back(std::move(groups_.extract(id).mapped()));
    with_signal += has_signal(batch.back()) ? 1 : 0;
    mark_trained(id);
  }
  with_signal_ -= with_signal;
  std::sort(batch.begin(), batch.end(),
            [](const SampleGroup& a, const SampleGroup& b) { return a.key < b.key; });
  return batch;
}

bool BatchBuffer::is_whole(uint64_t groups, uint64_t with_signal) const {
  return is_batch(groups, with_signal, options_.groups_per_batch, options_.max_refilled_groups);
}

void BatchBuffer::mark_trained(uint64_t group) {
  trained_.insert(group);
  while (!trained_.empty() && *trained_.begin() <= first_untrained_) {
    if (*trained_.begin() == first_untrained_) ++first_untrained_;
    trained_.erase(trained_.begin());
  }
}

}  // namespace tracewise
