// What run.db keeps beside the ledger: the run's own values, the metrics of each step and a few
// rollouts of each step and evaluation for the report and the shell.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "actors/sqlite.hpp"
#include "messages/records.hpp"

namespace tracewise {

struct StepMetric {
  uint64_t step = 0;
  std::string name;
  double value = 0;  // NaN where it was not finite
};

// A rollout as it was logged. `step` is the batch it was trained in, or the number of batches
// before the evaluation that measured it.
struct LoggedRollout {
  uint64_t step = 0;
  TracedRollout traced;
  std::vector<float> advantages;  // [K] of each step's tokens; empty for evaluation
};

// What a build writes, and the newest that it reads.
inline constexpr uint64_t kRunFormat = 1;

// Not thread-safe. Writing calls belong into a transaction of the database; reading ones may use a
// database opened read-only while another process writes. Errors: kIo, kCorrupt.
class RunStore {
 public:
  // kBadInput: a newer build wrote the folder, in a format that this one does not know.
  static Result<std::unique_ptr<RunStore>> open(Database* db, Database::Mode mode);

  Result<void> set_value(const std::string& key, const std::string& value);
  Result<std::optional<std::string>> value(const std::string& key);

  Result<void> put_metrics(uint64_t step, std::span<const Metric> metrics);
  Result<void> put_rollout(const LoggedRollout& rollout);

  // The newest step that there are metrics of; 0: none.
  Result<uint64_t> last_step();

  // Forgets the metrics and rollouts of steps after `step`; training rollouts are logged under the
  // step they are trained in, evaluations under the step they follow.
  Result<void> forget_after(uint64_t step);

  // Ascending by step; all metrics where `name` is empty.
  Result<std::vector<StepMetric>> metrics(const std::string& name);
  // Ascending by step, group and sample.
  Result<std::vector<LoggedRollout>> rollouts(Purpose purpose);
  // Of one training group, ascending by step and sample.
  Result<std::vector<LoggedRollout>> rollouts_of(uint64_t group);

 private:
  explicit RunStore(Database* db) : db_(db) {}
  Result<void> check_format();
  static Result<std::vector<LoggedRollout>> read_rollouts(Statement get);
  Database* db_;
};

}  // namespace tracewise
