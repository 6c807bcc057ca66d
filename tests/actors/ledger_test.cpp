#include "actors/ledger.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <fstream>

#include "actors/run_store.hpp"
#include "tests/temp_dir.hpp"

namespace tracewise {
namespace {

struct Book {
  explicit Book(const std::filesystem::path& file) {
    db = Database::open(file, Database::Mode::kReadWrite).value();
    ledger = Ledger::open(db.get()).value();
  }
  Result<void> train(uint64_t step, std::vector<GroupKey> groups) {
    return db->transaction(false, [&] { return ledger->train({step, groups}); });
  }
  Result<void> issue(std::vector<GroupKey> keys, uint64_t version = 0) {
    std::vector<Issue> issues;
    for (const GroupKey& key : keys) issues.push_back({key, version, "row"});
    return ledger->issue(issues);
  }
  std::unique_ptr<Database> db;
  std::unique_ptr<Ledger> ledger;
};

uint64_t sum_of_states(const Ledger& ledger) {
  uint64_t sum = 0;
  for (int s = 0; s < kGroupStates; ++s) sum += ledger.count(static_cast<GroupState>(s));
  return sum;
}

TEST_CASE("a group walks from issued to committed and is counted in one state at a time") {
  TempDir dir;
  Book book(dir.path() / "run.db");
  REQUIRE(book.issue({{0, 0}, {1, 0}}).ok());
  CHECK(book.ledger->count(GroupState::kIssued) == 2);
  CHECK(book.ledger->advance({0, 0}, GroupState::kGenerated));
  CHECK(book.ledger->advance({0, 0}, GroupState::kBuilt));
  CHECK(book.ledger->count(GroupState::kBuilt) == 1);
  REQUIRE(book.train(1, {{0, 0}}).ok());
  CHECK(book.ledger->count(GroupState::kTrained) == 1);
  REQUIRE(book.ledger->commit(1).ok());
  CHECK(book.ledger->count(GroupState::kCommitted) == 1);
  CHECK(book.ledger->count(GroupState::kIssued) == 1);
  CHECK(sum_of_states(*book.ledger) == book.ledger->issued());
  CHECK(book.ledger->check().ok());
}

TEST_CASE("duplicates and older attempts are refused") {
  TempDir dir;
  Book book(dir.path() / "run.db");
  REQUIRE(book.issue({{0, 0}, {1, 0}}).ok());
  REQUIRE(book.issue({{0, 1}}).ok());
  CHECK_FALSE(book.ledger->advance({0, 0}, GroupState::kBuilt));  // attempt 0 is over
  CHECK(book.ledger->advance({0, 1}, GroupState::kBuilt));
  CHECK_FALSE(book.ledger->advance({0, 1}, GroupState::kBuilt));      // twice
  CHECK_FALSE(book.ledger->advance({0, 1}, GroupState::kGenerated));  // overtaken report
  CHECK_FALSE(book.issue({{0, 1}}).ok());                             // attempt known
  CHECK_FALSE(book.issue({{7, 0}}).ok());                             // a gap in the ids
  REQUIRE(book.train(1, {{0, 1}, {1, 0}}).ok());
  CHECK_FALSE(book.issue({{0, 2}}).ok());  // trained
  const Result<void> twice = book.train(2, {{0, 1}});
  REQUIRE_FALSE(twice.ok());
  CHECK(twice.error().message == "group 0 (attempt 1) was trained in step 2, but also in step 1");
  REQUIRE(book.ledger->commit(1).ok());
  CHECK_FALSE(book.train(2, {{0, 1}}).ok());
  CHECK(book.ledger->issued() == 2);
}

TEST_CASE("a ledger that is opened after a crash has what was issued, not what nobody wrote") {
  TempDir dir;
  {
    Book book(dir.path() / "run.db");
    REQUIRE(book.issue({{0, 0}, {1, 0}, {2, 0}}, 4).ok());
    book.ledger->advance({0, 0}, GroupState::kBuilt);  // not flushed: lost, and harmless
  }
  Book book(dir.path() / "run.db");
  CHECK(book.ledger->issued() == 3);
  CHECK(book.ledger->count(GroupState::kIssued) == 3);
}

TEST_CASE("a resumed run issues again exactly what its checkpoint does not hold") {
  TempDir dir;
  {
    Book book(dir.path() / "run.db");
    REQUIRE(book.issue({{0, 0}, {1, 0}}).ok());
    REQUIRE(book.train(1, {{0, 0}, {1, 0}}).ok());
    REQUIRE(book.ledger->commit(1).ok());
    REQUIRE(book.issue({{2, 0}, {3, 0}}).ok());
    REQUIRE(book.train(2, {{2, 0}, {3, 0}}).ok());  // after the checkpoint of step 1
    REQUIRE(book.issue({{4, 0}, {5, 0}}).ok());
    book.ledger->advance({4, 0}, GroupState::kBuilt);
    REQUIRE(book.ledger->flush(false).ok());
  }
  Book book(dir.path() / "run.db");
  const auto again = book.ledger->resume(1, {}).value();
  CHECK(again == std::vector<GroupKey>{{2, 0}, {3, 0}, {4, 0}, {5, 0}});
  CHECK(book.ledger->issued() == 6);
  CHECK(book.ledger->count(GroupState::kCommitted) == 2);
  CHECK(book.ledger->trained_groups().value() == std::vector<uint64_t>{0, 1});
  REQUIRE(book.issue({{2, 1}, {3, 1}}, 1).ok());
  REQUIRE(book.train(2, {{2, 1}, {3, 1}}).ok());
  CHECK(sum_of_states(*book.ledger) == 6);
  CHECK(book.ledger->check().ok());
}

TEST_CASE("a crash between the checkpoint and the ledger's record of it trains no group twice") {
  TempDir dir;
  {
    Book book(dir.path() / "run.db");
    REQUIRE(book.issue({{0, 0}, {1, 0}, {2, 0}}).ok());
    book.ledger->advance({0, 0}, GroupState::kBuilt);
    REQUIRE(book.ledger->flush(false).ok());
  }
  Book book(dir.path() / "run.db");
  // The checkpoint of step 1 says that it holds groups 0 and 1.
  const TrainedBatch batch{1, {{0, 0}, {1, 0}}};
  CHECK(book.ledger->resume(1, std::vector{batch}).value() == std::vector<GroupKey>{{2, 0}});
  CHECK(book.ledger->count(GroupState::kCommitted) == 2);
  const TrainedBatch unknown{2, {{9, 0}}};
  const auto lost = book.ledger->resume(2, std::vector{unknown});
  REQUIRE_FALSE(lost.ok());
  CHECK(lost.error().error_class == ErrorClass::kCorrupt);
  CHECK(lost.error().message.find("holds group 9 (attempt 0), which was never issued") !=
        std::string::npos);
}

TEST_CASE("a checkpoint older than the newest one makes its later groups untrained again") {
  TempDir dir;
  Book book(dir.path() / "run.db");
  REQUIRE(book.issue({{0, 0}, {1, 0}}).ok());
  REQUIRE(book.train(1, {{0, 0}}).ok());
  REQUIRE(book.ledger->commit(1).ok());
  REQUIRE(book.train(2, {{1, 0}}).ok());
  REQUIRE(book.ledger->commit(2).ok());
  CHECK(book.ledger->resume(1, {}).value() == std::vector<GroupKey>{{1, 0}});
  CHECK(book.ledger->resume(0, {}).value() == std::vector<GroupKey>{{0, 0}, {1, 0}});
}

TEST_CASE(
    "a group without attempts left is failed, counts towards its batch and can be tried again") {
  TempDir dir;
  Book book(dir.path() / "run.db");
  REQUIRE(book.issue({{0, 0}, {1, 0}}).ok());
  book.ledger->fail({0, 0}, {FailureClass::kEngine, "no blocks"}, false);
  CHECK(book.ledger->count(GroupState::kFailed) == 0);
  REQUIRE(book.issue({{0, 1}}).ok());
  book.ledger->fail({0, 1}, {FailureClass::kEngine, "no blocks"}, true);
  CHECK(book.ledger->count(GroupState::kFailed) == 1);
  REQUIRE(book.ledger->flush(false).ok());
  // Before its batch is trained, a resumed run tries it again ...
  CHECK(book.ledger->resume(0, {}).value() == std::vector<GroupKey>{{0, 1}, {1, 0}});
  REQUIRE(book.train(1, {{0, 1}, {1, 0}}).ok());
  REQUIRE(book.ledger->commit(1).ok());
  // ... afterwards it stays failed.
  CHECK(book.ledger->count(GroupState::kFailed) == 1);
  CHECK(book.ledger->count(GroupState::kCommitted) == 1);
  CHECK(book.ledger->resume(1, {}).value().empty());
  Statement notes = book.db->prepare("SELECT count(*), max(message) FROM failures").value();
  REQUIRE(notes.step().value());
  CHECK(notes.integer(0) == 2);
  CHECK(notes.text(1) == "no blocks");
}

TEST_CASE("a ledger whose rows were removed by hand is found out when it is opened") {
  TempDir dir;
  {
    Book book(dir.path() / "run.db");
    REQUIRE(book.issue({{0, 0}, {1, 0}}).ok());
    REQUIRE(book.db->execute("DELETE FROM groups WHERE id = 1").ok());
  }
  auto db = Database::open(dir.path() / "run.db", Database::Mode::kReadWrite).value();
  const auto ledger = Ledger::open(db.get());
  REQUIRE_FALSE(ledger.ok());
  CHECK(ledger.error().message.find("sum to 1, but 2 were issued") != std::string::npos);
}

TEST_CASE("a file that is no database is named as corrupt") {
  TempDir dir;
  std::ofstream(dir.path() / "run.db") << std::string(4096, 'x');
  const auto db = Database::open(dir.path() / "run.db", Database::Mode::kReadWrite);
  REQUIRE_FALSE(db.ok());
  CHECK(db.error().error_class == ErrorClass::kCorrupt);
  CHECK(db.error().message.find("run.db") != std::string::npos);
}

TEST_CASE("a transaction whose body fails leaves nothing behind") {
  TempDir dir;
  Book book(dir.path() / "run.db");
  auto store = RunStore::open(book.db.get(), Database::Mode::kReadWrite).value();
  const Result<void> failed = book.db->transaction(false, [&]() -> Result<void> {
    TW_TRY(store->set_value("a", "1"));
    return bad_input("no");
  });
  CHECK(failed.error().message == "no");
  CHECK_FALSE(store->value("a").value().has_value());
  REQUIRE(book.db->transaction(true, [&] { return store->set_value("a", "2"); }).ok());
  CHECK(store->value("a").value() == "2");
}

LoggedRollout logged(uint64_t step, uint64_t group) {
  LoggedRollout l;
  l.step = step;
  l.traced.rollout.key = {group, 0};
  l.traced.rollout.group_samples = 4;
  l.traced.rollout.prompt = {"row", {1, 2}, "7", {7}};
  l.traced.rollout.tokens = {5, 6, 7};
  l.traced.rollout.logprobs = {-1, -2, -3};
  l.traced.rollout.policy_logprobs = {-1, -2, -3};
  l.traced.rollout.versions = {3, 3, 3};
  l.traced.step_ends = {2, 3};
  l.traced.values = {0.25f, 0.75f};
  l.traced.reward = 1;
  l.advantages = {0.5f, -0.25f};
  return l;
}

TEST_CASE(
    "metrics and logged rollouts come back as they were, and those of later steps are forgotten") {
  TempDir dir;
  Book book(dir.path() / "run.db");
  auto store = RunStore::open(book.db.get(), Database::Mode::kReadWrite).value();
  REQUIRE(store->put_metrics(1, std::vector<Metric>{{"loss", 0.5}, {"kl", std::nan("")}}).ok());
  REQUIRE(store->put_metrics(2, std::vector<Metric>{{"loss", 0.25}}).ok());
  REQUIRE(store->put_rollout(logged(1, 3)).ok());
  REQUIRE(store->put_rollout(logged(2, 9)).ok());

  auto reader_db = Database::open(dir.path() / "run.db", Database::Mode::kReadOnly).value();
  auto reader = RunStore::open(reader_db.get(), Database::Mode::kReadOnly).value();
  const auto losses = reader->metrics("loss").value();
  REQUIRE(losses.size() == 2);
  CHECK(losses[1].step == 2);
  CHECK(losses[1].value == 0.25);
  CHECK(std::isnan(reader->metrics("kl").value().at(0).value));
  CHECK(reader->metrics("").value().size() == 3);
  const auto rollouts = reader->rollouts(Purpose::kTrain).value();
  REQUIRE(rollouts.size() == 2);
  CHECK(rollouts[0].traced == logged(1, 3).traced);
  CHECK(rollouts[0].advantages == std::vector<float>{0.5f, -0.25f});
  CHECK(reader->rollouts(Purpose::kEval).value().empty());

  REQUIRE(store->forget_after(1).ok());
  CHECK(reader->rollouts(Purpose::kTrain).value().size() == 1);
  CHECK(reader->metrics("loss").value().size() == 1);
}

}  // namespace
}  // namespace tracewise
