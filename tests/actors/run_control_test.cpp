#include "actors/run_control.hpp"

#include <catch2/catch.hpp>

#include "tests/temp_dir.hpp"

namespace tracewise {
namespace {

using std::chrono::milliseconds;
using Todo = RunControl::Todo;
using TimePoint = RunControl::TimePoint;

std::vector<Prompt> prompts(int n) {
  std::vector<Prompt> all;
  for (int i = 0; i < n; ++i) all.push_back({"p" + std::to_string(i), {i}, "", {}});
  return all;
}

// A run control with its books; time passes only through `now`.
struct Bench {
  explicit Bench(RunOptions o, int eval_prompts = 0, const TempDir* run = nullptr)
      : options(o), train_set(prompts(5)), eval_set(prompts(eval_prompts)) {
    const bool resume = run != nullptr;
    const auto& root = resume ? run->path() : own.path();
    folder = (resume ? RunFolder::open(root) : RunFolder::create(root, "")).value();
    books = RunBooks::open(*folder, resume, options, train_set, 100).value();
    control = std::make_unique<RunControl>(options, &train_set, &eval_set, books.get(), 100, now);
  }

  // The learner trains on the batch of `keys`.
  Todo commit(std::vector<GroupKey> keys) {
    Commit c;
    c.step = c.version = ++step;
    c.groups = std::move(keys);
    c.metrics = {{"train/rollouts", 4}, {"train/response_tokens", 25}, {"train/accuracy", 0.5}};
    return control->on_commit(c, now).value();
  }
  Todo built(GroupKey key) { return control->on_built(key, {}, now).value(); }

  TempDir own;
  RunOptions options;
  std::vector<Prompt> train_set, eval_set;
  std::unique_ptr<RunFolder> folder;
  std::unique_ptr<RunBooks> books;
  std::unique_ptr<RunControl> control;
  TimePoint now{};
  uint64_t step = 0;
};

RunOptions options_of(uint64_t steps) {
  RunOptions o;
  o.groups_per_batch = 2;
  o.group_size = 4;
  o.steps = steps;
  o.max_attempts = 2;
  o.shuffle = false;
  return o;
}

std::vector<GroupKey> keys(const Todo& todo) {
  std::vector<GroupKey> keys;
  for (const auto& a : todo.issue) keys.push_back(a.task.key);
  return keys;
}

using Keys = std::vector<GroupKey>;

TEST_CASE("a synchronous run issues a batch, waits for its commit and ends with a checkpoint") {
  Bench b(options_of(2));
  CHECK(b.control->begin(b.now)->clock->running);
  Todo todo = b.control->on_grant(0, 100, b.now).value();
  REQUIRE(keys(todo) == Keys{{0, 0}, {1, 0}});
  CHECK(todo.issue[1].task.prompt.id == "p1");
  CHECK(todo.issue[1].task.samples == 4);
  b.now += milliseconds(300);
  CHECK(b.built({1, 0}).issue.empty());
  CHECK(b.built({0, 0}).issue.empty());
  b.now += milliseconds(200);
  todo = b.commit({{0, 0}, {1, 0}});
  REQUIRE(keys(todo) == Keys{{2, 0}, {3, 0}});
  CHECK(todo.issue[0].task.issue_version == 1);
  CHECK(b.control->progress(b.now).train_seconds == Approx(0.5));
  CHECK(b.control->progress(b.now).tokens_per_second == Approx(200));  // 4 x 25 in half a second
  CHECK(b.control->progress(b.now).seconds_left == Approx(0.5));
  b.built({2, 0});
  b.built({3, 0});
  todo = b.commit({{2, 0}, {3, 0}});
  REQUIRE(todo.save.has_value());
  CHECK(todo.issue.empty());
  CHECK_FALSE(todo.clock->running);
  CHECK(todo.save->state.step == 2);
  CHECK(todo.save->state.next_group == 4);
  CHECK(b.books->ledger().count(GroupState::kTrained) == 4);
  b.now += milliseconds(5000);  // a slow disk takes nothing from the budget
  todo = b.control->on_saved(2, "step-2", b.now).value();
  REQUIRE(todo.end.has_value());
  CHECK_FALSE(todo.end->interrupted);
  CHECK(todo.end->train_seconds == Approx(0.5));
  CHECK(todo.end->rollouts == 8);
  CHECK(todo.end->checkpoint == "step-2");
  CHECK(b.books->ledger().count(GroupState::kCommitted) == 4);
}

TEST_CASE("a failed group is issued again ahead of others, and given up after its last attempt") {
  Bench b(options_of(1));
  (void)b.control->begin(b.now);
  (void)b.control->on_grant(0, 100, b.now);
  const Failure failure{FailureClass::kEngine, "no blocks"};
  Todo todo = b.control->on_failed({{0, 0}, failure}, b.now).value();
  CHECK(keys(todo) == Keys{{0, 1}});
  // The older attempt is nobody's any more.
  CHECK(b.built({0, 0}).empty_groups.empty());
  CHECK(b.books->ledger().count(GroupState::kBuilt) == 0);
  todo = b.control->on_failed({{0, 1}, failure}, b.now).value();
  REQUIRE(todo.empty_groups.size() == 1);
  CHECK(todo.empty_groups[0].key == GroupKey{0, 1});
  CHECK(todo.empty_groups[0].stats.failures == 4);
  CHECK(keys(todo).empty());
  b.built({1, 0});
  todo = b.commit({{0, 1}, {1, 0}});  // the batch shrank, the run goes on
  CHECK(todo.save.has_value());
  CHECK(b.books->ledger().count(GroupState::kFailed) == 1);
  CHECK(b.books->ledger().count(GroupState::kTrained) == 1);
}

TEST_CASE("a batch of which every group failed ends the run with the failure") {
  Bench b(options_of(1));
  (void)b.control->begin(b.now);
  (void)b.control->on_grant(0, 100, b.now);
  const Failure too_long{FailureClass::kPromptTooLong, "prompt of 300 tokens, context of 256"};
  for (uint64_t g : {0, 1}) {  // no second attempt: it would end in the same way
    CHECK(b.control->on_failed({{g, 0}, too_long}, b.now)->empty_groups.size() == 1);
  }
  Commit c;
  c.step = c.version = 1;
  c.groups = {{0, 0}, {1, 0}};
  const auto end = b.control->on_commit(c, b.now);
  REQUIRE_FALSE(end.ok());
  CHECK(end.error().error_class == ErrorClass::kBadInput);
  CHECK(end.error().message ==
        "every group of step 1 failed: prompt of 300 tokens, context of 256");
}

TEST_CASE("groups of a lost generator go to another one and their old attempt is abandoned") {
  Bench b(options_of(1));
  (void)b.control->begin(b.now);
  Todo todo = b.control->on_grant(0, 4, b.now).value();
  CHECK(keys(todo) == Keys{{0, 0}});  // credit for one group of four samples
  todo = b.control->on_grant(1, 8, b.now).value();
  CHECK(keys(todo) == Keys{{1, 0}});
  todo = b.control->on_generator_lost(0, "out of memory", b.now).value();
  CHECK(todo.abandon == Keys{{0, 0}});
  REQUIRE(keys(todo) == Keys{{0, 1}});
  CHECK(todo.issue[0].generator == 1);
}

TEST_CASE("a group whose deadline passes ends the run and is named") {
  RunOptions o = options_of(1);
  o.deadlines.group_ms = 500;
  Bench b(o);
  (void)b.control->begin(b.now);
  (void)b.control->on_grant(3, 100, b.now);
  b.built({1, 0});
  CHECK(b.control->on_tick(b.now + milliseconds(499)).ok());
  const auto late = b.control->on_tick(b.now + milliseconds(500));
  REQUIRE_FALSE(late.ok());
  CHECK(late.error().error_class == ErrorClass::kDeadline);
  CHECK(late.error().message ==
        "group 0 (attempt 0) of generator 3 was not finished within 500 ms (deadlines.group_ms)");
}

TEST_CASE("a learner that keeps a whole batch past its deadline ends the run") {
  RunOptions o = options_of(1);
  o.deadlines.train_ms = 500;
  Bench b(o);
  (void)b.control->begin(b.now);
  (void)b.control->on_grant(0, 100, b.now);
  b.built({0, 0});
  CHECK(b.control->on_tick(b.now + milliseconds(900)).ok());  // no batch yet
  b.now += milliseconds(1000);
  b.built({1, 0});
  CHECK(b.control->on_tick(b.now + milliseconds(500)).ok());
  CHECK(b.control->on_tick(b.now + milliseconds(501)).error().message ==
        "the learner did not finish step 1 within 500 ms (deadlines.train_ms)");
}

TracedRollout measured(uint64_t prompt, uint32_t sample, float reward, size_t tokens) {
  TracedRollout t;
  t.rollout.key = {kEvalGroup | prompt, 0};
  t.rollout.purpose = Purpose::kEval;
  t.rollout.sample = sample;
  t.rollout.tokens.assign(tokens, 1);
  t.step_ends = {static_cast<int32_t>(tokens)};
  t.reward = reward;
  t.rollout.versions.assign(tokens, 0);
  t.rollout.logprobs.assign(tokens, -1);
  t.rollout.policy_logprobs.assign(tokens, -1);
  t.rollout.group_samples = 2;
  t.rollout.prompt.tokens = {1};
  return t;
}

TEST_CASE("an evaluation stops the clock, is measured and lets training go on") {
  RunOptions o = options_of(2);
  o.eval.samples = 2;
  o.eval.every_steps = 1;
  o.eval.at_end = false;
  Bench b(o, 2);
  CHECK_FALSE(b.control->begin(b.now)->clock.has_value());
  Todo todo = b.control->on_grant(0, 100, b.now).value();
  CHECK(keys(todo) == Keys{{kEvalGroup, 0}, {kEvalGroup | 1, 0}});
  CHECK(todo.issue[0].task.purpose == Purpose::kEval);
  b.now += milliseconds(700);
  CHECK(keys(b.control->on_measured({measured(0, 0, 1, 10), measured(1, 1, 0, 20)}, b.now).value())
            .empty());
  CHECK(b.control->progress(b.now).activity == "evaluating");
  todo = b.control->on_measured({measured(1, 0, 1, 30), measured(0, 1, 1, 40)}, b.now).value();
  CHECK(keys(todo) == Keys{{0, 0}, {1, 0}});
  CHECK(todo.clock->seconds == 0);
  CHECK(todo.clock->running);
  b.built({0, 0});
  b.built({1, 0});
  todo = b.commit({{0, 0}, {1, 0}});
  CHECK(keys(todo) == Keys{{kEvalGroup, 0}, {kEvalGroup | 1, 0}});
  CHECK(todo.issue[0].task.issue_version == 1);
  // All right this time: the best so far, so a checkpoint comes before training goes on.
  todo = b.control
             ->on_measured({measured(0, 0, 1, 10), measured(0, 1, 1, 10), measured(1, 0, 1, 10),
                            measured(1, 1, 1, 10)},
                           b.now)
             .value();
  REQUIRE(todo.save.has_value());
  CHECK(todo.save->best);
  CHECK(todo.save->state.best_metric == 1.0);
  CHECK(todo.save->state.last_eval_step == 1);
  todo = b.control->on_saved(1, "step-1", b.now).value();
  CHECK(keys(todo) == Keys{{2, 0}, {3, 0}});
}

TEST_CASE("evaluations are due by steps, by seconds, at given seconds and at the end") {
  RunOptions o = options_of(0);
  o.groups_per_batch = 1;
  o.budget_seconds = 10;
  o.eval.at_start = false;
  o.eval.at_seconds = {2.5, 6.0};
  Bench b(o, 1);
  o.eval.samples = 1;
  (void)b.control->begin(b.now);
  (void)b.control->on_grant(0, 100, b.now);
  std::vector<uint64_t> evaluated;
  for (uint64_t g = 0; g < 20; ++g) {
    b.now += milliseconds(1000);
    b.built({g, 0});
    Todo todo = b.commit({{g, 0}});
    if (todo.issue.size() == 1 && todo.issue[0].task.purpose == Purpose::kEval) {
      evaluated.push_back(b.step);
      b.now += milliseconds(60'000);
      todo = b.control->on_measured({measured(0, 0, 0, 10)}, b.now).value();
    }
    if (todo.save) todo = b.control->on_saved(b.step, "", b.now).value();
    if (todo.end) break;
  }
  CHECK(evaluated == std::vector<uint64_t>{3, 6, 10});
  CHECK(b.step == 10);
}

TEST_CASE("a stop is answered with a checkpoint of the last step, whatever is under way") {
  RunOptions o = options_of(9);
  o.deadlines.stop_ms = 1234;
  Bench b(o);
  (void)b.control->begin(b.now);
  (void)b.control->on_grant(0, 100, b.now);
  b.built({0, 0});
  Todo todo = b.control->on_stop(b.now).value();
  REQUIRE(todo.save.has_value());
  CHECK(todo.save->deadline_ms == 1234);
  CHECK(todo.save->state.step == 0);
  // The batch was already with the learner; its commit comes first and is in the checkpoint.
  b.built({1, 0});
  CHECK(b.commit({{0, 0}, {1, 0}}).issue.empty());
  todo = b.control->on_saved(1, "step-1", b.now).value();
  REQUIRE(todo.end.has_value());
  CHECK(todo.end->interrupted);
  CHECK(todo.end->step == 1);
  CHECK(b.books->ledger().count(GroupState::kCommitted) == 2);
}

TEST_CASE("a stop has its own deadline for a checkpoint that is under way already") {
  RunOptions o = options_of(9);
  o.checkpoint.every_steps = 1;
  o.deadlines.stop_ms = 1000;
  Bench b(o);
  (void)b.control->begin(b.now);
  (void)b.control->on_grant(0, 100, b.now);
  b.built({0, 0});
  b.built({1, 0});
  REQUIRE(b.commit({{0, 0}, {1, 0}}).save.has_value());
  b.now += milliseconds(5000);
  CHECK_FALSE(b.control->on_stop(b.now)->save.has_value());
  CHECK(b.control->on_tick(b.now + milliseconds(1000)).ok());
  const auto late = b.control->on_tick(b.now + milliseconds(1001));
  REQUIRE_FALSE(late.ok());
  CHECK(late.error().error_class == ErrorClass::kDeadline);
  CHECK(late.error().message ==
        "a stop was asked for and the checkpoint after step 1 was not written within 1000 ms "
        "(deadlines.stop_ms)");
}

TEST_CASE("a second checkpoint that a stop needs has what is left of the stop's deadline") {
  RunOptions o = options_of(0);
  o.max_staleness = 1;
  o.checkpoint.every_steps = 1;
  o.deadlines.stop_ms = 1000;
  Bench b(o);
  (void)b.control->begin(b.now);
  (void)b.control->on_grant(0, 100, b.now);
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
  Todo todo = b.control->on_grant(0, 100, b.now).value();
  CHECK(keys(todo) == Keys{{0, 0}, {1, 0}, {2, 0}, {3, 0}});
  for (uint64_t g : {1, 2, 3}) b.built({g, 0});
  todo = b.commit({{1, 0}, {2, 0}});
  CHECK(keys(todo) == Keys{{4, 0}, {5, 0}});
  b.built({4, 0});
  CHECK(keys(b.commit({{3, 0}, {4, 0}})) == Keys{{6, 0}, {7, 0}});
  b.built({0, 0});  // issued at version 0, but the learner is at 2
  todo = b.control->on_refused({{0, 0}}, b.now).value();
  REQUIRE(keys(todo) == Keys{{0, 1}});
  CHECK(todo.issue[0].task.issue_version == 2);
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
  (void)b.control->on_grant(0, 100, b.now);
  const auto train = [&](uint64_t g) {
    b.built({g, 0});
    b.built({g + 1, 0});
    return b.commit({{g, 0}, {g + 1, 0}});
  };
  CHECK(keys(train(0)) == Keys{{4, 0}, {5, 0}});
  CHECK(keys(train(2)) == Keys{{6, 0}, {7, 0}});
  CHECK(keys(train(4)).empty());  // step 3, with groups 6 and 7 under way
  Todo todo = train(6);
  REQUIRE(keys(todo) == Keys{{kEvalGroup, 0}});
  CHECK(todo.issue[0].task.issue_version == 4);
  todo = b.control->on_measured({measured(0, 0, 0, 10), measured(0, 1, 0, 10)}, b.now).value();
  REQUIRE(todo.save.has_value());  // the one that was due at step 3 as well
  CHECK(todo.save->state.step == 4);
  CHECK(todo.save->state.last_eval_step == 4);
  CHECK(keys(b.control->on_saved(4, "step-4", b.now).value()) ==
        Keys{{8, 0}, {9, 0}, {10, 0}, {11, 0}});
  CHECK(keys(train(8)) == Keys{{12, 0}, {13, 0}});  // step 5: nothing is due before step 6
  CHECK(keys(train(10)).empty());
  CHECK(keys(train(12)) == Keys{{kEvalGroup, 0}});
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
  CHECK(keys(b.control->on_grant(0, 100, b.now).value()) == Keys{{2, 1}, {3, 1}, {4, 0}, {5, 0}});
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
  CHECK(keys(b.control->on_grant(0, 100, b.now).value()) == Keys{{2, 1}, {3, 1}});
  CHECK(b.control->progress(b.now).train_seconds == 3);
  CHECK(keys(b.commit({{2, 1}, {3, 1}})) == Keys{{4, 1}, {5, 1}});
  CHECK(keys(b.commit({{4, 1}, {5, 1}})) == Keys{{6, 0}, {7, 0}});
  CHECK(b.books->ledger().check().ok());
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
