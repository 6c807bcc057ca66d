#include "actors/ledger.hpp"

#include <algorithm>
#include <utility>

namespace tracewise {
namespace {

constexpr const char* kSchema = R"sql(
  CREATE TABLE IF NOT EXISTS groups (
    id INTEGER PRIMARY KEY, attempt INTEGER NOT NULL, state TEXT NOT NULL, version INTEGER NOT NULL,
    step INTEGER NOT NULL, prompt TEXT NOT NULL);
  CREATE INDEX IF NOT EXISTS groups_step ON groups (step);
  CREATE TABLE IF NOT EXISTS failures (
    group_id INTEGER NOT NULL, attempt INTEGER NOT NULL, class INTEGER NOT NULL,
    message TEXT NOT NULL);
  CREATE TABLE IF NOT EXISTS issued (groups INTEGER NOT NULL);
  INSERT INTO issued SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM issued);
)sql";

constexpr std::array<const char*, kGroupStates> kStateNames = {
    "issued", "generated", "traced", "built", "trained", "committed", "failed"};

Result<GroupState> parse_state(const std::string& name, const std::string& file) {
  const auto* found = std::find(kStateNames.begin(), kStateNames.end(), name);
  if (found == kStateNames.end()) {
    return corrupt(file + ": a group has the unknown state \"" + name + "\"");
  }
  return static_cast<GroupState>(found - kStateNames.begin());
}

std::string name_of(GroupKey key) {
  return "group " + std::to_string(key.group) + " (attempt " + std::to_string(key.attempt) + ")";
}

Error internal(std::string message) { return {ErrorClass::kInternal, std::move(message)}; }

}  // namespace

const char* to_string(GroupState state) { return kStateNames[static_cast<size_t>(state)]; }

Result<std::unique_ptr<Ledger>> Ledger::open(Database* db) {
  std::unique_ptr<Ledger> ledger(new Ledger(db));
  TW_TRY(db->execute(kSchema));
  TW_TRY(ledger->load());
  TW_TRY(ledger->check());
  return ledger;
}

Result<void> Ledger::load() {
  open_.clear();
  dirty_.clear();
  trained_.clear();
  failures_.clear();
  counts_.fill(0);
  TW_ASSIGN(Statement issued, db_->prepare("SELECT groups FROM issued"));
  TW_ASSIGN(const bool has_row, issued.step());
  if (!has_row) return corrupt(db_->file().string() + ": the table `issued` is empty");
  issued_ = static_cast<uint64_t>(issued.integer(0));

  TW_ASSIGN(Statement sums, db_->prepare("SELECT state, count(*) FROM groups GROUP BY state"));
  while (true) {
    TW_ASSIGN(const bool row, sums.step());
    if (!row) break;
    TW_ASSIGN(const GroupState state, parse_state(sums.text(0), db_->file().string()));
    counts_[static_cast<size_t>(state)] = static_cast<uint64_t>(sums.integer(1));
  }
  TW_ASSIGN(Statement steps, db_->prepare("SELECT step, count(*) FROM groups WHERE "
                                          "state = 'trained' GROUP BY step"));
  while (true) {
    TW_ASSIGN(const bool row, steps.step());
    if (!row) break;
    trained_[static_cast<uint64_t>(steps.integer(0))] = static_cast<uint64_t>(steps.integer(1));
  }
  TW_ASSIGN(Statement rows, db_->prepare("SELECT id, attempt, state, version, step, prompt FROM "
                                         "groups WHERE step = 0"));
  while (true) {
    TW_ASSIGN(const bool row, rows.step());
    if (!row) break;
    TW_ASSIGN(const GroupState state, parse_state(rows.text(2), db_->file().string()));
    open_[static_cast<uint64_t>(rows.integer(0))] = {static_cast<uint32_t>(rows.integer(1)),
                                                     state,
                                                     static_cast<uint64_t>(rows.integer(3)),
                                                     static_cast<uint64_t>(rows.integer(4)),
                                                     rows.text(5),
                                                     false};
  }
  return {};
}

void Ledger::set_state(uint64_t id, Row& row, GroupState state) {
  --counts_[static_cast<size_t>(row.state)];
  ++counts_[static_cast<size_t>(state)];
  row.state = state;
  mark(id, row);
}

void Ledger::mark(uint64_t id, Row& row) {
  if (!std::exchange(row.dirty, true)) dirty_.push_back(id);
}

Result<void> Ledger::issue(std::span<const Issue> issues) {
  for (const Issue& issue : issues) {
    const auto found = open_.find(issue.key.group);
    if (found == open_.end()) {
      if (issue.key.group != issued_ || issue.key.attempt != 0) {
        return internal("the ledger cannot issue " + name_of(issue.key) +
                        ": the next new group is " + std::to_string(issued_));
      }
      Row& row = open_[issue.key.group];
      row.version = issue.version;
      row.prompt = issue.prompt;
      mark(issue.key.group, row);
      ++counts_[static_cast<size_t>(GroupState::kIssued)];
      ++issued_;
      continue;
    }
    Row& row = found->second;
    if (issue.key.attempt <= row.attempt) {
      return internal("the ledger cannot issue " + name_of(issue.key) + ": it is " +
                      to_string(row.state) + " at attempt " + std::to_string(row.attempt));
    }
    row.attempt = issue.key.attempt;
    row.version = issue.version;
    set_state(issue.key.group, row, GroupState::kIssued);
  }
  return flush(false);
}

bool Ledger::advance(GroupKey key, GroupState state) {
  TW_CHECK(state == GroupState::kGenerated || state == GroupState::kTraced ||
               state == GroupState::kBuilt,
           std::string("advance() to ") + to_string(state));
  const auto found = open_.find(key.group);
  if (found == open_.end()) return false;
  Row& row = found->second;
  if (row.attempt != key.attempt || row.state >= state) return false;
  set_state(key.group, row, state);
  return true;
}

void Ledger::fail(GroupKey key, const Failure& failure, bool give_up) {
  failures_.push_back({key, failure});
  const auto found = open_.find(key.group);
  if (!give_up || found == open_.end() || found->second.attempt != key.attempt) return;
  set_state(key.group, found->second, GroupState::kFailed);
}

Result<void> Ledger::train(const TrainedBatch& batch) {
  for (const GroupKey& key : batch.groups) {
    const auto found = open_.find(key.group);
    if (found == open_.end() || found->second.step != 0) return trained_twice(key, batch.step);
    Row& row = found->second;
    row.step = batch.step;
    row.attempt = std::max(row.attempt, key.attempt);
    mark(key.group, row);
    // A group without attempts left stays failed; its empty place in the batch is what was trained.
    if (row.state == GroupState::kFailed) continue;
    set_state(key.group, row, GroupState::kTrained);
    ++trained_[batch.step];
  }
  TW_TRY(write_pending());
  for (const GroupKey& key : batch.groups) open_.erase(key.group);
  return {};
}

// Why it cannot be trained: the step that it is in is still in memory or in the file.
Result<void> Ledger::trained_twice(GroupKey key, uint64_t step) {
  TW_ASSIGN(Statement get, db_->prepare("SELECT step FROM groups WHERE id = ?"));
  TW_ASSIGN(const bool there, get.bind(0, key.group).step());
  const auto found = open_.find(key.group);
  const uint64_t before = found != open_.end() ? found->second.step
                          : there              ? static_cast<uint64_t>(get.integer(0))
                                               : 0;
  return internal(
      name_of(key) + " was trained in step " + std::to_string(step) +
      (before == 0 ? ", but it was never issued" : ", but also in step " + std::to_string(before)));
}

Result<void> Ledger::commit(uint64_t step) {
  const auto end = trained_.upper_bound(step);
  uint64_t expected = 0, changed = 0;
  for (auto it = trained_.begin(); it != end; ++it) expected += it->second;
  TW_TRY(db_->transaction(true, [&]() -> Result<void> {
    TW_TRY(write_pending());
    TW_ASSIGN(Statement put, db_->prepare("UPDATE groups SET state = 'committed' WHERE "
                                          "state = 'trained' AND step BETWEEN ? AND ?"));
    const uint64_t first = expected == 0 ? step : trained_.begin()->first;
    TW_TRY(put.bind(0, first).bind(1, step).run());
    changed = static_cast<uint64_t>(db_->changed_rows());
    return {};
  }));
  if (changed != expected) {
    return internal(db_->file().string() + ": " + std::to_string(changed) +
                    " groups are trained up to step " + std::to_string(step) + ", but " +
                    std::to_string(expected) + " were");
  }
  counts_[static_cast<size_t>(GroupState::kTrained)] -= expected;
  counts_[static_cast<size_t>(GroupState::kCommitted)] += expected;
  trained_.erase(trained_.begin(), end);
  return {};
}

Result<void> Ledger::flush(bool durable) {
  return db_->transaction(durable, [this] { return write_pending(); });
}

Result<void> Ledger::write_pending() {
  TW_ASSIGN(Statement put,
            db_->prepare("INSERT INTO groups (id, attempt, state, version, step, prompt) "
                         "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET "
                         "attempt = excluded.attempt, state = excluded.state, "
                         "version = excluded.version, step = excluded.step"));
  std::sort(dirty_.begin(), dirty_.end());  // neighbours in the file, one behind the other
  for (const uint64_t id : dirty_) {
    Row& row = open_.at(id);
    put.bind(0, id).bind(1, int64_t{row.attempt}).bind(2, std::string_view(to_string(row.state)));
    put.bind(3, row.version).bind(4, row.step).bind(5, std::string_view(row.prompt));
    TW_TRY(put.run());
    row.dirty = false;
  }
  dirty_.clear();
  TW_ASSIGN(Statement note, db_->prepare("INSERT INTO failures VALUES (?, ?, ?, ?)"));
  for (const FailureNote& f : failures_) {
    note.bind(0, f.key.group).bind(1, int64_t{f.key.attempt});
    note.bind(2, static_cast<int64_t>(f.failure.failure_class));
    TW_TRY(note.bind(3, std::string_view(f.failure.message)).run());
  }
  failures_.clear();
  TW_ASSIGN(Statement issued, db_->prepare("UPDATE issued SET groups = ?"));
  return issued.bind(0, issued_).run();
}

Result<std::vector<GroupKey>> Ledger::resume(uint64_t step, std::span<const TrainedBatch> batches) {
  TW_TRY(db_->transaction(true, [&] { return apply_checkpoint(step, batches); }));
  TW_TRY(load());
  TW_TRY(check());
  std::vector<GroupKey> again;
  for (const auto& [id, row] : open_) again.push_back({id, row.attempt});
  return again;
}

Result<void> Ledger::apply_checkpoint(uint64_t step, std::span<const TrainedBatch> batches) {
  TW_ASSIGN(Statement trained, db_->prepare("UPDATE groups SET step = ?, state = CASE state WHEN "
                                            "'failed' THEN 'failed' ELSE 'committed' END "
                                            "WHERE id = ?"));
  for (const TrainedBatch& batch : batches) {
    for (const GroupKey& key : batch.groups) {
      TW_TRY(trained.bind(0, batch.step).bind(1, key.group).run());
      if (db_->changed_rows() == 0) {
        return corrupt(db_->file().string() + ": the checkpoint of step " + std::to_string(step) +
                       " holds " + name_of(key) + ", which was never issued here");
      }
    }
  }
  TW_ASSIGN(Statement keep, db_->prepare("UPDATE groups SET state = 'committed' WHERE "
                                         "state = 'trained' AND step <= ?"));
  TW_TRY(keep.bind(0, step).run());
  // What was trained after the checkpoint is not in its weights.
  TW_ASSIGN(Statement undo,
            db_->prepare("UPDATE groups SET step = 0, state = 'issued' WHERE step > ? "
                         "OR (state NOT IN ('committed', 'failed'))"));
  return undo.bind(0, step).run();
}

Result<void> Ledger::check() {
  uint64_t in_file = 0;
  std::array<uint64_t, kGroupStates> counts{};
  TW_ASSIGN(Statement sums, db_->prepare("SELECT state, count(*) FROM groups GROUP BY state"));
  while (true) {
    TW_ASSIGN(const bool row, sums.step());
    if (!row) break;
    TW_ASSIGN(const GroupState state, parse_state(sums.text(0), db_->file().string()));
    counts[static_cast<size_t>(state)] = static_cast<uint64_t>(sums.integer(1));
    in_file += static_cast<uint64_t>(sums.integer(1));
  }
  if (in_file != issued_) {
    return internal(db_->file().string() + ": the states of the groups sum to " +
                    std::to_string(in_file) + ", but " + std::to_string(issued_) + " were issued");
  }
  if (counts != counts_) {
    return internal(db_->file().string() + ": the states in the file differ from those in memory");
  }
  return {};
}

Result<std::vector<uint64_t>> Ledger::trained_groups() {
  std::vector<uint64_t> ids;
  TW_ASSIGN(Statement rows, db_->prepare("SELECT id FROM groups WHERE step > 0 ORDER BY id"));
  while (true) {
    TW_ASSIGN(const bool row, rows.step());
    if (!row) break;
    ids.push_back(static_cast<uint64_t>(rows.integer(0)));
  }
  return ids;
}

}  // namespace tracewise
