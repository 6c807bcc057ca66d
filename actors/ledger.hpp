// The prompt ledger: every group of a run, and how far it has come.
//
//   issued -> generated -> traced -> built -> trained -> committed        failed (no attempts left)
//      ^_______|_____________|________|          |            ^ its batch is in a checkpoint on
//      disk
//        issued again, attempt + 1               ` its batch is in the learner's weights
//
// What is decided together is written together, before it is acted on: issue() returns once the
// rows survive the death of the process, commit() once they survive the death of the machine.
// Reports of progress (generated, traced, built), on which nobody acts, go along with the next
// write.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "actors/sqlite.hpp"
#include "messages/records.hpp"

namespace tracewise {

enum class GroupState : uint8_t {
  kIssued,
  kGenerated,
  kTraced,
  kBuilt,
  kTrained,
  kCommitted,
  kFailed,
};
inline constexpr int kGroupStates = 7;
const char* to_string(GroupState state);

// A group about to be issued.
struct Issue {
  GroupKey key;
  uint64_t version = 0;  // issue version
  std::string prompt;    // its row id
};

// The groups of a batch and the step it was. Also what a checkpoint lists, so that a crash between
// the checkpoint and the ledger's own record of the batch cannot train a group twice.
struct TrainedBatch {
  uint64_t step = 0;
  std::vector<GroupKey> groups;
};

// In memory are the groups that are in no batch yet, so it does not grow with a run.
//
// Not thread-safe; owned by the coordinator. Errors: kIo (disk), kCorrupt (the file), kInternal (a
// group trained twice, a duplicate issue).
class Ledger {
 public:
  // Makes the tables in a new database or reads what an earlier run left. `db` outlives the ledger.
  static Result<std::unique_ptr<Ledger>> open(Database* db);

  // A new group (attempt 0) or another attempt at one that is not trained. Durable on return.
  Result<void> issue(std::span<const Issue> issues);

  // Reports that `key` reached kGenerated, kTraced or kBuilt. States may be skipped, because
  // reports of different actors overtake each other. False: refused, as it is an older attempt, a
  // finished group, or a state already reached.
  bool advance(GroupKey key, GroupState state);

  // Writes down why an attempt failed. With `give_up` the group is failed for good; it still counts
  // towards its batch. Durable with the next issue(), train() or commit().
  void fail(GroupKey key, const Failure& failure, bool give_up);

  // The batch of `step` is in the learner's weights. A group may be trained by an older attempt
  // than the newest one; it may not be trained twice. Call inside a transaction of the database, so
  // that the step's other records are kept or lost with it.
  Result<void> train(const TrainedBatch& batch);

  // All trained groups up to `step` are in a checkpoint on disk.
  Result<void> commit(uint64_t step);

  // Starts over from a checkpoint of `step` (0: from the beginning). `batches` is what the
  // checkpoint lists. Groups of later steps are untrained again. Returns what has to be issued
  // again, ascending, with the newest attempt that each has had.
  Result<std::vector<GroupKey>> resume(uint64_t step, std::span<const TrainedBatch> batches);

  // Writes reports that wait for the next write. With `durable` the whole ledger is on the disk
  // when this returns: to be done before a checkpoint, which must not know of a group that run.db
  // lost.
  Result<void> flush(bool durable);

  // Checks `sum of states = issued` in the file, and the file against memory. kInternal names both.
  Result<void> check();

  uint64_t issued() const { return issued_; }  // groups, whatever their attempts
  uint64_t count(GroupState state) const { return counts_[static_cast<size_t>(state)]; }
  // Trained or committed ids, ascending; for the learner's buffer after a resume.
  Result<std::vector<uint64_t>> trained_groups();

 private:
  struct Row {
    uint32_t attempt = 0;
    GroupState state = GroupState::kIssued;
    uint64_t version = 0;
    uint64_t step = 0;  // of its batch; 0: none yet
    std::string prompt;
    bool dirty = false;  // its id is in dirty_
  };
  struct FailureNote {
    GroupKey key;
    Failure failure;
  };

  explicit Ledger(Database* db) : db_(db) {}
  Result<void> load();
  Result<void> write_pending();
  Result<void> apply_checkpoint(uint64_t step, std::span<const TrainedBatch> batches);
  void set_state(uint64_t id, Row& row, GroupState state);
  void mark(uint64_t id, Row& row);
  Result<void> trained_twice(GroupKey key, uint64_t step);

  Database* db_;
  uint64_t issued_ = 0;
  std::array<uint64_t, kGroupStates> counts_{};
  std::map<uint64_t, Row> open_;  // by group id; in no batch yet: the others are in the file
  std::vector<uint64_t> dirty_;   // of those, what the file does not know yet
  std::map<uint64_t, uint64_t> trained_;  // groups trained in each step that is not committed
  std::vector<FailureNote> failures_;
};

}  // namespace tracewise
