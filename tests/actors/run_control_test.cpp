#include <catch2/catch.hpp>

#include "tests/actors/run_control_bench.hpp"

namespace tracewise {
namespace {

using std::chrono::milliseconds;

TEST_CASE(
    "a step's metrics have the pauses of the swaps since the step before, of all generators") {
  Bench b(options_of(3));
  (void)b.control->begin(b.now);
  b.join(0);
  const auto swapped = [&](uint32_t generator, uint64_t swaps, double pause, double wait,
                           double longest) {
    EngineStats stats;
    stats.swaps = swaps;
    stats.swap_pause_seconds = pause;
    stats.swap_wait_seconds = wait;
    stats.longest_step_seconds = longest;
    stats.recomputed_tokens = 10 * swaps;
    b.control->set_engine_stats(generator, stats);
  };
  swapped(0, 2, 0, 9, 9);           // nothing was under way: no pause
  swapped(0, 3, 0.010, 0.1, 0.02);  // the only ones that count
  swapped(0, 3, 0.010, 0.1, 0.02);  // said again
  swapped(1, 2, 0.030, 0.0, 0.01);
  b.commit({{0, 0}, {1, 0}});
  b.commit({{2, 0}, {3, 0}});
  const auto db = Database::open(b.folder->database(), Database::Mode::kReadOnly).value();
  const auto value = [&](int step, const std::string& name) -> std::optional<double> {
    Statement get = db->prepare("SELECT value FROM metrics WHERE step = ? AND name = ?").value();
    get.bind(0, int64_t{step}).bind(1, "rollout/" + name);
    if (!get.step().value()) return std::nullopt;
    return get.real(0);
  };
  CHECK(*value(1, "swap_pause_ms") == Approx(20));
  CHECK(*value(1, "swap_pause_ms_max") == Approx(30));
  CHECK(*value(1, "swap_wait_ms_max") == Approx(100));
  CHECK(*value(1, "longest_step_ms") == Approx(20));
  CHECK(*value(1, "recomputed_tokens") == Approx(50));
  CHECK_FALSE(value(2, "swap_pause_ms"));
  CHECK(*value(2, "recomputed_tokens") == Approx(50));
}

TEST_CASE("a synchronous run issues a batch, waits for its commit and ends with a checkpoint") {
  Bench b(options_of(2));
  CHECK(b.control->begin(b.now)->clock->running);
  Todo todo = b.join(0);
  REQUIRE(keys(todo) == Keys{{0, 0}, {1, 0}});
  CHECK(todo.issue[1].prompt.id == "p1");
  CHECK(todo.issue[1].samples == 4);
  b.now += milliseconds(300);
  CHECK(b.built({1, 0}).issue.empty());
  CHECK(b.built({0, 0}).issue.empty());
  b.now += milliseconds(200);
  todo = b.commit({{0, 0}, {1, 0}});
  REQUIRE(keys(todo) == Keys{{2, 0}, {3, 0}});
  CHECK(todo.issue[0].issue_version == 1);
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
  (void)b.join(0);
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
  (void)b.join(0);
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
  RunOptions o = options_of(1);
  o.window_samples = 4;
  Bench b(o);
  (void)b.control->begin(b.now);
  CHECK(keys(b.join(0)) == Keys{{0, 0}});  // room for one group of four samples
  CHECK(keys(b.join(1)) == Keys{{1, 0}});
  (void)b.control->on_handed(1, {}, 4, b.now);
  Todo todo = b.control->on_lost({Role::kGenerator, 0}, "out of memory", true, b.now).value();
  REQUIRE(todo.abandon.size() == 1);
  CHECK(todo.abandon[0].key == GroupKey{0, 0});
  CHECK(todo.abandon[0].route == Route{0, 0, 0});
  REQUIRE(keys(todo) == Keys{{0, 1}});
  CHECK(todo.issue[0].route.generator == 1);
}

TEST_CASE("groups of a lost tracer or builder are issued again with a route around it") {
  Bench b(options_of(1));
  (void)b.control->begin(b.now);
  (void)b.control->on_join({Role::kTracer, 1}, b.now);
  (void)b.control->on_join({Role::kBuilder, 1}, b.now);
  Todo todo = b.join(0);
  REQUIRE(keys(todo) == Keys{{0, 0}, {1, 0}});
  CHECK(todo.issue[0].route == Route{0, 0, 0});
  CHECK(todo.issue[1].route == Route{0, 1, 1});
  todo = b.control->on_lost({Role::kTracer, 1}, "the host is gone", false, b.now).value();
  REQUIRE(keys(todo) == Keys{{1, 1}});
  CHECK(todo.issue[0].route == Route{0, 0, 1});
  // The learner holds group 0 by now, so its builder's loss touches group 1 alone.
  b.built({0, 0});
  (void)b.control->on_join({Role::kBuilder, 2}, b.now);
  todo = b.control->on_lost({Role::kBuilder, 1}, "the host is gone", false, b.now).value();
  REQUIRE(keys(todo) == Keys{{1, 2}});
  CHECK(todo.issue[0].route == Route{0, 0, 2});
  // Two losses and yet no attempt was its own fault: it still has both of them.
  const Failure failure{FailureClass::kEngine, "no blocks"};
  CHECK(keys(b.control->on_failed({{1, 2}, failure}, b.now).value()) == Keys{{1, 3}});
  CHECK(b.control->on_failed({{1, 3}, failure}, b.now)->empty_groups.size() == 1);
}

TEST_CASE("nothing is sent while no tracer or no builder is there") {
  Bench b(options_of(1));
  (void)b.control->on_lost({Role::kTracer, 0}, "gone", false, b.now);
  (void)b.control->begin(b.now);
  CHECK(b.join(0).issue.empty());
  CHECK(keys(b.control->on_join({Role::kTracer, 1}, b.now).value()) == Keys{{0, 0}, {1, 0}});
}

TEST_CASE("a group that the learner refuses on arrival is issued again at once") {
  Bench b(options_of(1));
  (void)b.control->begin(b.now);
  (void)b.join(0);
  CHECK(keys(b.control->on_refused({{1, 0}}, b.now).value()) == Keys{{1, 1}});
  CHECK(keys(b.control->on_refused({{1, 0}}, b.now).value()).empty());  // told twice
}

TEST_CASE("a group whose deadline passes ends the run and is named") {
  RunOptions o = options_of(1);
  o.deadlines.group_ms = 500;
  Bench b(o);
  (void)b.control->begin(b.now);
  (void)b.join(3);
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
  (void)b.join(0);
  b.built({0, 0});
  CHECK(b.control->on_tick(b.now + milliseconds(900)).ok());  // no batch yet
  b.now += milliseconds(1000);
  b.built({1, 0});
  CHECK(b.control->on_tick(b.now + milliseconds(500)).ok());
  CHECK(b.control->on_tick(b.now + milliseconds(501)).error().message ==
        "the learner did not finish step 1 within 500 ms (deadlines.train_ms)");
}

TEST_CASE("an evaluation stops the clock, is measured and lets training go on") {
  RunOptions o = options_of(2);
  o.eval.samples = 2;
  o.eval.every_steps = 1;
  o.eval.at_end = false;
  Bench b(o, 2);
  CHECK_FALSE(b.control->begin(b.now)->clock.has_value());
  Todo todo = b.join(0);
  CHECK(keys(todo) == Keys{{kMain, 0}, {kMain + 1, 0}});
  CHECK(todo.issue[0].purpose == Purpose::kEval);
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
  CHECK(keys(todo) == Keys{{kMain, 0}, {kMain + 1, 0}});
  CHECK(todo.issue[0].issue_version == 1);
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

TEST_CASE("a set of an evaluation whose every rollout fails ends the run and is named") {
  RunOptions o = options_of(1);
  o.eval.samples = 1;
  Bench b(o, 1);
  b.eval_sets.push_back({"other", prompts(1), 2});
  const uint64_t other = first_eval_group("other");
  (void)b.control->begin(b.now);
  CHECK(b.join(0).issue.size() == 2);
  const auto fails = [&](uint32_t sample, const std::string& why) {
    TracedRollout t = measured(0, sample, 0, 10);
    t.rollout.key.group = other;
    t.rollout.failure = {FailureClass::kVerifierError, why};
    return t;
  };
  REQUIRE(b.control->on_measured({measured(0, 0, 1, 10), fails(1, "second")}, b.now).ok());
  CHECK(b.control->on_measured({fails(0, "first")}, b.now).error().message ==
        "every rollout of the evaluation set other after step 0 failed: first");
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
  (void)b.join(0);
  std::vector<uint64_t> evaluated;
  for (uint64_t g = 0; g < 20; ++g) {
    b.now += milliseconds(1000);
    b.built({g, 0});
    Todo todo = b.commit({{g, 0}});
    if (todo.issue.size() == 1 && todo.issue[0].purpose == Purpose::kEval) {
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
  (void)b.join(0);
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
  (void)b.join(0);
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

}  // namespace
}  // namespace tracewise
