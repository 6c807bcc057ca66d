// Asynchronous and resumed runs as the coordinator steers them.
#include <catch2/catch.hpp>

#include "model/file_io.hpp"
#include "tests/actors/run_control_bench.hpp"

namespace tracewise {
namespace {

using std::chrono::milliseconds;

TEST_CASE("a second checkpoint that a stop needs has what is left of the stop's deadline") {
  RunOptions o = options_of(0);
  o.max_staleness = 1;
  o.checkpoint.every_steps = 1;
  o.deadlines.stop_ms = 1000;
  Bench b(o);
  (void)b.control->begin(b.now);
  (void)b.join(0);
  for (uint64_t g = 0; g < 4; ++g) b.built({g, 0});
  REQUIRE(b.commit({{0, 0}, {1, 0}}).save.has_value());
  (void)b.control->on_stop(b.now);
  (void)b.commit({{2, 0}, {3, 0}});
  b.now += milliseconds(600);
  const Todo todo = b.control->on_saved(1, "step-1", b.now).value();
  REQUIRE(todo.save.has_value());
  CHECK(todo.save->state.step == 2);
  CHECK(todo.save->deadline_ms == 400);
}

TEST_CASE("asynchronous training runs ahead by its staleness and issues refused groups again") {
  RunOptions o = options_of(0);
  o.max_staleness = 1;
  Bench b(o);
  (void)b.control->begin(b.now);
  Todo todo = b.join(0);
  CHECK(keys(todo) == Keys{{0, 0}, {1, 0}, {2, 0}, {3, 0}});
  for (uint64_t g : {1, 2, 3}) b.built({g, 0});
  todo = b.commit({{1, 0}, {2, 0}});
  CHECK(keys(todo) == Keys{{4, 0}, {5, 0}});
  b.built({4, 0});
  CHECK(keys(b.commit({{3, 0}, {4, 0}})) == Keys{{6, 0}, {7, 0}});
  b.built({0, 0});  // issued at version 0, but the learner is at 2
  todo = b.control->on_refused({{0, 0}}, b.now).value();
  REQUIRE(keys(todo) == Keys{{0, 1}});
  CHECK(todo.issue[0].issue_version == 2);
  CHECK(b.books->ledger().issued() == 8);  // no new group
}

TEST_CASE("asynchronous training evaluates once what was under way at a due step is trained") {
  RunOptions o = options_of(0);
  o.max_staleness = 1;
  o.eval.at_start = o.eval.at_end = false;
  o.eval.every_steps = o.checkpoint.every_steps = 3;
  o.eval.samples = 2;
  Bench b(o, 1);
  (void)b.control->begin(b.now);
  (void)b.join(0);
  const auto train = [&](uint64_t g) {
    b.built({g, 0});
    b.built({g + 1, 0});
    return b.commit({{g, 0}, {g + 1, 0}});
  };
  CHECK(keys(train(0)) == Keys{{4, 0}, {5, 0}});
  CHECK(keys(train(2)) == Keys{{6, 0}, {7, 0}});
  CHECK(keys(train(4)).empty());  // step 3, with groups 6 and 7 under way
  Todo todo = train(6);
  REQUIRE(keys(todo) == Keys{{kMain, 0}});
  CHECK(todo.issue[0].issue_version == 4);
  todo = b.control->on_measured({measured(0, 0, 0, 10), measured(0, 1, 0, 10)}, b.now).value();
  REQUIRE(todo.save.has_value());  // the one that was due at step 3 as well
  CHECK(todo.save->state.step == 4);
  CHECK(todo.save->state.last_eval_step == 4);
  CHECK(keys(b.control->on_saved(4, "step-4", b.now).value()) ==
        Keys{{8, 0}, {9, 0}, {10, 0}, {11, 0}});
  CHECK(keys(train(8)) == Keys{{12, 0}, {13, 0}});  // step 5: nothing is due before step 6
  CHECK(keys(train(10)).empty());
  CHECK(keys(train(12)) == Keys{{kMain, 0}});
}

TEST_CASE("an asynchronous run is resumed with old and new groups issued together") {
  TempDir dir;
  RunOptions o = options_of(0);
  o.max_staleness = 1;
  {
    auto folder = RunFolder::create(dir.path(), "").value();
    auto books = RunBooks::open(*folder, false, o, prompts(5), 100).value();
    const std::vector<Issue> issues = {
        {{0, 0}, 0, "p"}, {{1, 0}, 0, "p"}, {{2, 0}, 0, "p"}, {{3, 0}, 0, "p"}};
    REQUIRE(books->ledger().issue(issues).ok());
    REQUIRE(books->record_step({1, {{0, 0}, {1, 0}}}, {}, 100).ok());
    CheckpointState state;
    state.step = state.version = 1;
    REQUIRE(folder->write_checkpoint(state, [](const auto&) { return Result<void>(); }).ok());
  }
  Bench b(o, 0, &dir);
  REQUIRE(b.control->begin(b.now).ok());
  CHECK(keys(b.join(0)) == Keys{{2, 1}, {3, 1}, {4, 0}, {5, 0}});
  CHECK(b.books->ledger().check().ok());
}

TEST_CASE("a group without a signal has another one in its stead, as often as a batch may") {
  RunOptions o = options_of(2);
  o.max_refilled_groups = 1;
  Bench b(o);
  (void)b.control->begin(b.now);
  CHECK(keys(b.join(0)) == Keys{{0, 0}, {1, 0}});
  CHECK(keys(b.built_without_signal({1, 0})) == Keys{{2, 0}});
  CHECK_FALSE(b.control->batch_since());
  CHECK(b.built_without_signal({0, 0}).issue.empty());  // one is all that may be left out
  CHECK_FALSE(b.control->batch_since());
  b.built({2, 0});
  CHECK(b.control->batch_since());
  CHECK(keys(b.commit({{0, 0}, {1, 0}, {2, 0}})) == Keys{{3, 0}, {4, 0}});
  b.built({3, 0});
  b.built({4, 0});
  CHECK(b.commit({{3, 0}, {4, 0}}).save.has_value());  // both steps are done
  CHECK(b.books->ledger().issued() == 5);
  CHECK(b.books->ledger().count(GroupState::kTrained) == 5);
  CHECK(b.books->ledger().check().ok());
}

TEST_CASE("groups that are left out count once, before and after their batch is trained") {
  RunOptions o = options_of(0);
  o.max_staleness = 1;
  o.max_refilled_groups = 2;
  Bench b(o);
  (void)b.control->begin(b.now);
  CHECK(keys(b.join(0)) == Keys{{0, 0}, {1, 0}, {2, 0}, {3, 0}});
  CHECK(keys(b.built_without_signal({0, 0})) == Keys{{4, 0}});
  b.built({1, 0});
  b.built({2, 0});
  CHECK(keys(b.commit({{0, 0}, {1, 0}, {2, 0}})) == Keys{{5, 0}, {6, 0}});
  // Refused as too old it is issued again, and may have a signal then.
  CHECK(keys(b.built_without_signal({3, 0})) == Keys{{7, 0}});
  CHECK(keys(b.control->on_refused({{3, 0}}, b.now).value()) == Keys{{3, 1}});
  b.built({3, 1});
  CHECK(b.books->ledger().issued() == 8);
}

TEST_CASE("groups that are left over after the last step are not waited for") {
  RunOptions o = options_of(1);
  o.max_staleness = 1;
  o.max_refilled_groups = 2;
  Bench b(o);
  (void)b.control->begin(b.now);
  CHECK(keys(b.join(0)) == Keys{{0, 0}, {1, 0}});
  CHECK(keys(b.built_without_signal({0, 0})) == Keys{{2, 0}});
  CHECK(keys(b.built_without_signal({1, 0})) == Keys{{3, 0}});
  b.built({2, 0});
  b.built({3, 0});
  CHECK(b.commit({{0, 0}, {1, 0}}).save.has_value());
}

TEST_CASE("an older attempt that has come without a signal is what the learner has of its group") {
  RunOptions o = options_of(1);
  o.max_refilled_groups = 1;
  Bench b(o);
  (void)b.control->begin(b.now);
  (void)b.join(0);
  CHECK(keys(*b.control->on_failed({{0, 0}, {FailureClass::kEngine, "lost"}}, b.now)) ==
        Keys{{0, 1}});
  CHECK(keys(b.built_without_signal({0, 0})) == Keys{{2, 0}});
}

TEST_CASE("a resumed run leaves out no more groups than the one before it") {
  TempDir dir;
  RunOptions o = options_of(4);
  o.max_refilled_groups = 1;
  {
    auto folder = RunFolder::create(dir.path(), "").value();
    auto books = RunBooks::open(*folder, false, o, prompts(5), 100).value();
    std::vector<Issue> issues;
    for (uint64_t g = 0; g < 6; ++g) issues.push_back({{g, 0}, g / 3, "p"});
    REQUIRE(books->ledger().issue(issues).ok());
    REQUIRE(books->record_step({1, {{0, 0}, {1, 0}, {2, 0}}}, {}, 100).ok());
    CheckpointState state;
    state.step = state.version = 1;
    REQUIRE(folder->write_checkpoint(state, [](const auto&) { return Result<void>(); }).ok());
  }
  Bench b(o, 0, &dir);
  b.step = 1;
  (void)b.control->begin(b.now);
  CHECK(keys(b.join(0)) == Keys{{3, 1}, {4, 1}});
  CHECK(keys(b.built_without_signal({4, 1})) == Keys{{5, 1}});
  b.built({3, 1});
  b.built({5, 1});
  CHECK(keys(b.commit({{3, 1}, {4, 1}, {5, 1}})) == Keys{{6, 0}, {7, 0}});
  CHECK(b.books->ledger().check().ok());
}

TEST_CASE("a resumed run issues what is missing before anything new, one batch at a time") {
  TempDir dir;
  {
    auto folder = RunFolder::create(dir.path(), "").value();
    RunOptions first = options_of(4);
    first.seed = 7;
    auto books = RunBooks::open(*folder, false, first, prompts(5), 100).value();
    std::vector<Issue> issues;
    for (uint64_t g = 0; g < 6; ++g) issues.push_back({{g, 0}, g / 2, "p"});
    REQUIRE(books->ledger().issue(issues).ok());
    for (uint64_t step : {1, 2}) {  // trained, but only step 1 reaches a checkpoint
      REQUIRE(books->record_step({step, {{2 * step - 2, 0}, {2 * step - 1, 0}}}, {}, 100).ok());
    }
    CheckpointState state;
    state.step = state.version = 1;
    state.train_seconds = 3;
    state.seed = 7;
    REQUIRE(folder->write_checkpoint(state, [](const auto&) { return Result<void>(); }).ok());
  }
  RunOptions o = options_of(4);
  o.seed = 7;
  Bench b(o, 0, &dir);
  b.step = 1;
  (void)b.control->begin(b.now);
  CHECK(keys(b.join(0)) == Keys{{2, 1}, {3, 1}});
  CHECK(b.control->progress(b.now).train_seconds == 3);
  CHECK(keys(b.commit({{2, 1}, {3, 1}})) == Keys{{4, 1}, {5, 1}});
  CHECK(keys(b.commit({{4, 1}, {5, 1}})) == Keys{{6, 0}, {7, 0}});
  CHECK(b.books->ledger().check().ok());
}

TEST_CASE("a broken checkpoint does not crowd out those of the run that is resumed before it") {
  TempDir dir;
  auto folder = RunFolder::create(dir.path(), "").value();
  REQUIRE(RunBooks::open(*folder, false, options_of(20), prompts(5), 100).ok());
  const auto parts = [](const std::filesystem::path& at) { return write_file(at / "w", "abc"); };
  CheckpointState state;
  for (const uint64_t step : {6, 10}) {
    state.step = step;
    REQUIRE(folder->write_checkpoint(state, parts).ok());
  }
  REQUIRE(folder->mark_best(6).ok());
  std::filesystem::resize_file(folder->checkpoints() / "step-10/w", 1);
  const auto books = RunBooks::open(*folder, true, options_of(20), prompts(5), 100).value();
  CHECK(books->start().state.step == 6);
  state.step = 7;
  REQUIRE(folder->write_checkpoint(state, parts).ok());
  REQUIRE(folder->prune(1, true).ok());
  CHECK(folder->newest_checkpoint(nullptr).value()->state.step == 7);
  CHECK(std::filesystem::exists(folder->checkpoints() / "step-6"));
  CHECK(std::filesystem::exists(folder->checkpoints() / "step-10.broken/w"));
}

TEST_CASE("a run is resumed with the seed, the batches and the prompts that it was started with") {
  TempDir dir;
  auto folder = RunFolder::create(dir.path(), "").value();
  RunOptions options = options_of(4);
  options.seed = 7;
  REQUIRE(RunBooks::open(*folder, false, options, prompts(5), 100).ok());
  CHECK(RunBooks::open(*folder, true, options, prompts(5), 100).ok());

  options.seed = 8;
  const auto other_seed = RunBooks::open(*folder, true, options, prompts(5), 100);
  REQUIRE_FALSE(other_seed.ok());
  CHECK(other_seed.error().message.find("started with seed = 7 and cannot be resumed with "
                                        "seed = 8") != std::string::npos);
  options.seed = 7;
  options.groups_per_batch = 3;
  CHECK_FALSE(RunBooks::open(*folder, true, options, prompts(5), 100).ok());
  options.groups_per_batch = 2;
  CHECK_FALSE(RunBooks::open(*folder, true, options, prompts(6), 100).ok());
  std::vector<Prompt> changed = prompts(5);
  changed[3].tokens.push_back(1);
  CHECK_FALSE(RunBooks::open(*folder, true, options, changed, 100).ok());
  CHECK(RunBooks::open(*folder, true, options, prompts(5), 100).ok());
}

}  // namespace
}  // namespace tracewise
