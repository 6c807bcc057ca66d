#include <catch2/catch.hpp>

#include "tests/actors/run_control_bench.hpp"

namespace tracewise {
namespace {

using std::chrono::milliseconds;
using Kind = RunOrder::Kind;

std::string refusal(const Bench& b, const RunOrder& order) {
  const auto possible = b.control->check(order);
  return possible.ok() ? "" : possible.error().message;
}

}  // namespace

TEST_CASE("a paused run ends what is under way, rests, and goes on where it was") {
  Bench b(options_of(3));
  (void)b.control->begin(b.now);
  REQUIRE(keys(b.join(0)) == Keys{{0, 0}, {1, 0}});
  b.now += milliseconds(100);
  CHECK_FALSE(b.control->on_order({Kind::kPause, 0}, b.now)->clock.has_value());
  CHECK(refusal(b, {Kind::kPause, 0}) == "the run is paused already");
  b.built({0, 0});
  b.built({1, 0});
  b.now += milliseconds(200);
  Todo todo = b.commit({{0, 0}, {1, 0}});  // the batch was whole: the learner trains on it
  CHECK(todo.issue.empty());
  REQUIRE(todo.clock.has_value());
  CHECK_FALSE(todo.clock->running);
  CHECK(std::string(b.control->activity()) == "paused");
  b.now += milliseconds(5000);
  CHECK(b.control->on_tick(b.now)->issue.empty());
  todo = b.control->on_order({Kind::kResume, 0}, b.now).value();
  CHECK(keys(todo) == Keys{{2, 0}, {3, 0}});
  CHECK(todo.clock->running);
  CHECK(b.control->progress(b.now).train_seconds == Approx(0.3));
  CHECK(refusal(b, {Kind::kResume, 0}) == "the run is not paused");
}

TEST_CASE("what fails in a pause is issued again after it") {
  Bench b(options_of(3));
  (void)b.control->begin(b.now);
  (void)b.join(0);
  (void)b.control->on_order({Kind::kPause, 0}, b.now);
  const Failure failure{FailureClass::kEngine, "no blocks"};
  CHECK(b.control->on_failed({{0, 0}, failure}, b.now)->issue.empty());
  CHECK(keys(*b.control->on_order({Kind::kResume, 0}, b.now)) == Keys{{0, 1}});
}

TEST_CASE("a checkpoint is written when it is asked for, in the middle of a step too") {
  Bench b(options_of(3));
  (void)b.control->begin(b.now);
  (void)b.join(0);
  CHECK(refusal(b, {Kind::kCheckpoint, 0}) == "nothing has been trained yet");
  REQUIRE(keys(b.commit({{0, 0}, {1, 0}})) == Keys{{2, 0}, {3, 0}});
  const Todo todo = b.control->on_order({Kind::kCheckpoint, 0}, b.now).value();
  REQUIRE(todo.save.has_value());
  CHECK(todo.save->state.step == 1);
  CHECK(refusal(b, {Kind::kCheckpoint, 0}) == "a checkpoint is being written");
  CHECK(b.control->on_saved(1, "step-1", b.now)->issue.empty());
  CHECK(b.books->ledger().count(GroupState::kCommitted) == 2);
  CHECK(refusal(b, {Kind::kCheckpoint, 0}) == "step 1 is in a checkpoint already");
  CHECK(keys(b.commit({{2, 0}, {3, 0}})) == Keys{{4, 0}, {5, 0}});
}

TEST_CASE("an evaluation that is asked for waits for what is under way, and training for it") {
  RunOptions options = options_of(3);
  options.eval.at_start = options.eval.at_end = options.checkpoint.keep_best = false;
  Bench b(options, 1);
  (void)b.control->begin(b.now);
  (void)b.join(0);
  CHECK(b.control->on_order({Kind::kEvaluate, 0}, b.now)->issue.empty());
  CHECK(refusal(b, {Kind::kEvaluate, 0}) == "the run is evaluating, or about to");
  b.built({0, 0});
  b.built({1, 0});
  CHECK(keys(b.commit({{0, 0}, {1, 0}})) == Keys{{kMain, 0}});
  CHECK(refusal(b, {Kind::kCheckpoint, 0}) ==
        "the run is evaluating; a checkpoint of its weights may follow");
  const Todo todo = b.control->on_measured({measured(0, 0, 1, 3)}, b.now).value();
  CHECK(keys(todo) == Keys{{2, 0}, {3, 0}});
  CHECK(refusal(b, {Kind::kEvaluate, 0}) == "the weights after step 1 have been evaluated");
  Bench without(options_of(3));
  CHECK(refusal(without, {Kind::kEvaluate, 0}) == "the run has no evaluation sets (eval.sets)");
}

TEST_CASE("a run that is to stop after a step ends with its checkpoint, and can be resumed") {
  Bench b(options_of(5));
  (void)b.control->begin(b.now);
  (void)b.join(0);
  CHECK(refusal(b, {Kind::kStopAfter, 0}) == "step 0 is done; stop ends the run at once");
  CHECK(refusal(b, {Kind::kStopAfter, 5}) == "the run ends after step 5 anyway");
  CHECK(b.control->on_order({Kind::kStopAfter, 2}, b.now)->issue.empty());
  CHECK(keys(b.commit({{0, 0}, {1, 0}})) == Keys{{2, 0}, {3, 0}});
  Todo todo = b.commit({{2, 0}, {3, 0}});
  CHECK(todo.issue.empty());
  REQUIRE(todo.save.has_value());
  CHECK(refusal(b, {Kind::kPause, 0}) == "the run is ending");
  todo = b.control->on_saved(2, "step-2", b.now).value();
  REQUIRE(todo.end.has_value());
  CHECK(todo.end->interrupted);
  CHECK(todo.end->step == 2);
}

}  // namespace tracewise
