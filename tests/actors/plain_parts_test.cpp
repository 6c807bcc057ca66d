// Dispatcher, evaluation arithmetic, registry and progress line.
#include <catch2/catch.hpp>
#include <cstdio>

#include "actors/dispatcher.hpp"
#include "actors/eval_result.hpp"
#include "actors/eval_run.hpp"
#include "actors/node_registry.hpp"
#include "actors/parts.hpp"
#include "actors/progress.hpp"
#include "actors/train_step.hpp"

namespace tracewise {
namespace {

using std::chrono::milliseconds;
using TimePoint = Dispatcher::TimePoint;

GroupTask task_of(uint64_t group, uint32_t samples) {
  GroupTask task;
  task.key = {group, 0};
  task.samples = samples;
  return task;
}

std::vector<std::pair<uint64_t, uint32_t>> plan(const std::vector<GroupTask>& all) {
  std::vector<std::pair<uint64_t, uint32_t>> plan;
  for (const auto& task : all) plan.emplace_back(task.key.group, task.route.generator);
  return plan;
}

// A tracer, a builder and generators 0.. with these windows.
Dispatcher dispatcher(std::vector<uint32_t> windows) {
  Dispatcher d;
  d.join({Role::kTracer, 0}, 0);
  d.join({Role::kBuilder, 0}, 0);
  for (uint32_t g = 0; g < windows.size(); ++g) d.join({Role::kGenerator, g}, windows[g]);
  return d;
}

using Plan = std::vector<std::pair<uint64_t, uint32_t>>;

TEST_CASE("tokens are counted by how many versions they are behind the learner") {
  SampleGroup group;
  group.rollouts.resize(2);
  group.rollouts[0].versions = {3, 3, 4, 9};
  group.rollouts[1].versions = {9, 10, 10};
  std::map<std::string, double> found;
  for (const Metric& m : lag_metrics({&group, 1}, 10)) found[m.name] = m.value;
  // Lags 7, 7, 6, 1, 1, 0, 0.
  CHECK(found == std::map<std::string, double>{{"version_lag/0", 2},
                                               {"version_lag/1", 2},
                                               {"version_lag/2", 0},
                                               {"version_lag/3", 0},
                                               {"version_lag/4_up", 3},
                                               {"version_lag/mean", 22.0 / 7},
                                               {"version_lag/max", 7}});
  group.rollouts.clear();
  CHECK(lag_metrics({&group, 1}, 10).size() == 5);
}

TEST_CASE("groups go to the generator with the most credit and wait when nobody has enough") {
  Dispatcher d = dispatcher({16, 24});
  const TimePoint t{};
  for (uint64_t g = 0; g < 6; ++g) d.push(task_of(g, 8));
  // Credits 16/24 -> 16/16 -> 8/16 -> 8/8 -> 0/8 -> 0/0; group 5 waits.
  CHECK(plan(d.dispatch(t, t)) == Plan{{0, 1}, {1, 0}, {2, 1}, {3, 0}, {4, 1}});
  CHECK(d.queued() == 1);
  d.grant(0, 7);
  CHECK(d.dispatch(t, t).empty());
  d.grant(0, 1);
  CHECK(plan(d.dispatch(t, t)) == Plan{{5, 0}});
}

TEST_CASE("a group larger than any window goes to a generator that owes nothing") {
  Dispatcher d = dispatcher({4});
  const TimePoint t{};
  d.push(task_of(0, 2));
  d.push(task_of(1, 64));
  CHECK(plan(d.dispatch(t, t)) == Plan{{0, 0}});
  d.grant(0, 2);  // group 0 was handed on
  CHECK(plan(d.dispatch(t, t)) == Plan{{1, 0}});
  d.push(task_of(2, 2));
  CHECK(d.dispatch(t, t).empty());
  d.grant(0, 64);
  CHECK(plan(d.dispatch(t, t)) == Plan{{2, 0}});
}

TEST_CASE("a draining seat gets nothing new, and is told of once what it has is finished") {
  Dispatcher d = dispatcher({100, 100});
  const TimePoint t{};
  d.push(task_of(0, 8));
  d.push(task_of(1, 8));
  REQUIRE(plan(d.dispatch(t, t)) == Plan{{0, 0}, {1, 1}});
  const Seat leaving{Role::kGenerator, 0};
  d.drain(leaving);
  CHECK(d.take_drained().empty());
  d.push(task_of(2, 8));
  CHECK(plan(d.dispatch(t, t)) == Plan{{2, 1}});
  d.join(leaving, 100);  // somebody else has joined: everybody is named again
  d.grant(0, 8);
  d.push(task_of(3, 8));
  CHECK(plan(d.dispatch(t, t)) == Plan{{3, 1}});
  CHECK(d.finish({0, 0}));
  CHECK(d.take_drained() == std::vector<Seat>{leaving});
  CHECK(d.take_drained().empty());  // told once
  CHECK(d.leave(leaving).empty());
}

TEST_CASE("a seat that is drained before it is there gets nothing when it comes") {
  Dispatcher d = dispatcher({8});
  const TimePoint t{};
  const Seat late{Role::kTracer, 1};
  d.drain(late);
  CHECK(d.take_drained() == std::vector<Seat>{late});
  d.join(late, 0);
  d.push(task_of(1, 8));  // of two tracers, number 1 would be its own
  const auto sent = d.dispatch(t, t);
  REQUIRE(sent.size() == 1);
  CHECK(sent[0].route.tracer == 0);
}

TEST_CASE("what goes through each seat is counted") {
  Dispatcher d = dispatcher({16});
  const TimePoint t{};
  d.push(task_of(0, 8));
  d.push(task_of(1, 8));
  d.push(task_of(2, 8));  // no credit: it waits
  GroupTask eval = task_of(kEvalGroup | 3, 0);
  eval.purpose = Purpose::kEval;
  (void)d.dispatch(t, t);
  CHECK(d.finish({0, 0}));
  const SeatWork generator{{Role::kGenerator, 0}, 1, 1}, tracer{{Role::kTracer, 0}, 1, 1},
      builder{{Role::kBuilder, 0}, 1, 1};
  CHECK(d.work() == std::vector<SeatWork>{generator, tracer, builder});
  d.grant(0, 16);
  d.push(eval);  // builders have no part in it
  CHECK(d.dispatch(t, t).size() == 2);
  CHECK(d.work()[1].in_flight == 3);
  CHECK(d.work()[2].in_flight == 2);
}

TEST_CASE("only the attempt in flight can be finished, and the first deadline is found") {
  Dispatcher d = dispatcher({100});
  const TimePoint t{};
  d.push(task_of(7, 1));
  (void)d.dispatch(t, t + milliseconds(20));
  d.push(task_of(8, 1));
  (void)d.dispatch(t, t + milliseconds(10));
  CHECK_FALSE(d.overdue(t + milliseconds(9)).has_value());
  d.hand_on({7, 1});  // another attempt
  d.hand_on({8, 0});
  CHECK_FALSE(d.in_flight().at(7).handed_on);
  CHECK(d.in_flight().at(8).handed_on);
  CHECK(d.overdue(t + milliseconds(10))->key.group == 8);
  CHECK_FALSE(d.finish({8, 1}));
  CHECK(d.finish({8, 0}));
  CHECK_FALSE(d.finish({8, 0}));
  CHECK(d.leave({Role::kGenerator, 0}).at(0).key.group == 7);
  CHECK(d.idle());
  d.grant(0, 8);  // was on its way: nobody is there to send to
  d.push(task_of(9, 1));
  CHECK(d.dispatch(t, t).empty());
}

TEST_CASE("what travels together is cut into messages of bounded size, in order") {
  std::vector<std::vector<size_t>> sent;
  in_parts(
      std::vector<size_t>{10'000, 30'000, 1, 90'000, 5, 6}, [](size_t tokens) { return tokens; },
      [&](std::vector<size_t> part) { sent.push_back(std::move(part)); });
  CHECK(sent == std::vector<std::vector<size_t>>{{10'000, 30'000}, {1}, {90'000}, {5, 6}});
  sent.clear();
  in_parts(
      std::vector<size_t>{}, [](size_t tokens) { return tokens; },
      [&](std::vector<size_t> part) { sent.push_back(std::move(part)); });
  CHECK(sent.empty());
}

TEST_CASE("the Wilson interval equals values worked out by hand") {
  // p = 8/10, z = 1.96: centre (0.8 + 0.19208) / 1.38416 = 0.716738, half = 1.416 * ... = 0.226578.
  const auto [low, high] = wilson_interval(8, 10);
  CHECK(low == Approx(0.490162).margin(1e-5));
  CHECK(high == Approx(0.943318).margin(1e-5));
  CHECK(wilson_interval(0, 20).first == Approx(0).margin(1e-12));
  CHECK(wilson_interval(20, 20).second == Approx(1).margin(1e-12));
  CHECK(wilson_interval(0, 0) == std::pair(0.0, 1.0));
}

TracedRollout traced_of(uint64_t group, uint32_t sample, float reward, size_t tokens) {
  TracedRollout t;
  t.rollout.key = {group, 0};
  t.rollout.sample = sample;
  t.rollout.tokens.assign(tokens, 0);
  t.reward = reward;
  t.step_ends.assign(3, 0);
  return t;
}

TEST_CASE("an evaluation is complete when each group has its samples of the newest attempt") {
  const std::vector<EvalSet> sets = {{"main", std::vector<Prompt>(2), 2}};
  const uint64_t first = first_eval_group("main");
  EvalRun run(sets, {}, 9);
  CHECK(run.tasks().size() == 2);
  CHECK(run.tasks()[1].issue_version == 9);
  CHECK_FALSE(run.put(traced_of(first, 0, 1, 5)));
  CHECK(run.retry({first, 0}).key == GroupKey{first, 1});
  CHECK_FALSE(run.put(traced_of(first, 1, 1, 5)));  // of the older attempt
  TracedRollout again = traced_of(first, 0, 1, 5);
  again.rollout.key.attempt = 1;
  CHECK_FALSE(run.put(again));
  CHECK_FALSE(run.put(again));  // the same sample twice
  again.rollout.sample = 1;
  CHECK(run.put(again));
  CHECK_FALSE(run.complete());
  CHECK_FALSE(run.put(traced_of(first + 1, 1, 0, 5)));
  CHECK(run.put(traced_of(first + 1, 0, 0, 5)));
  CHECK(run.complete());
  CHECK(run.take().size() == 4);
}

TEST_CASE("batch metrics are ratios of the groups' sums, not means of their ratios") {
  std::vector<SampleGroup> groups(2);
  groups[0].stats.rollouts = 3;
  groups[0].stats.reward_sum = 3;
  groups[0].stats.response_tokens = 30;
  groups[0].rollouts.resize(3);
  groups[1].stats.rollouts = 1;
  groups[1].stats.response_tokens = 50;
  groups[1].stats.probe_tokens = 40;
  groups[1].stats.failures = 2;
  groups[0].stats.probed_by_other_weights = 1;
  groups[1].stats.probed_by_other_weights = 2;
  const auto metrics = batch_metrics(groups);
  const auto value = [&](const std::string& name) {
    for (const Metric& m : metrics) {
      if (m.name == name) return m.value;
    }
    return -1.0;
  };
  CHECK(value("train/accuracy") == 0.75);
  CHECK(value("train/response_tokens") == 20);
  CHECK(value("train/probe_token_share") == 0.5);
  CHECK(value("train/failures") == 2);
  CHECK(value("train/probes_by_newer_weights") == 3);
  CHECK(value("train/groups_with_signal") == 1);
  CHECK(value("train/brier") == -1);  // nothing was probed: no such metric
}

TEST_CASE("the registry shows what an actor does and whom it waits for, until it is gone") {
  NodeRegistry registry;
  const TimePoint t{};
  auto generator = registry.enlist("generator 0", "generator", t);
  generator->set_state("decoding", t + milliseconds(1000));
  generator->set_state("decoding", t + milliseconds(2000));  // still the same
  generator->handled(5);
  generator->begin_wait("weights version 3", "learner", t + milliseconds(2000),
                        t + milliseconds(5000));
  const auto status = registry.status(t + milliseconds(3000));
  REQUIRE(status.size() == 1);
  CHECK(status[0].state == "decoding");
  CHECK(status[0].state_seconds == Approx(2));
  CHECK(status[0].mailbox == 5);
  CHECK(status[0].handled == 1);
  REQUIRE(status[0].waits.size() == 1);
  CHECK(status[0].waits[0].who == "learner");
  CHECK(status[0].waits[0].since_seconds == Approx(1));
  CHECK(status[0].waits[0].left_seconds == Approx(2));
  CHECK(registry.describe("generator 0", t + milliseconds(3000)) ==
        "generator 0: decoding for 2.0 s, waits for learner (weights version 3) for 1.0 s");
  generator->end_wait("weights version 3");
  CHECK(registry.status(t)[0].waits.empty());
  generator.reset();
  CHECK(registry.status(t).empty());
  CHECK(registry.describe("generator 0", t).empty());
}

TEST_CASE("the progress line has what is known and leaves out what is not") {
  Progress p;
  p.activity = "evaluating";
  CHECK(progress_line(p) == "step 0  evaluating");
  p = {12, 100, 12, 0.8125, 43.06, 5210.4, 30, 83.4, "training"};
  CHECK(progress_line(p) == "step 12/100  accuracy 0.812  tokens 43.1  5210 tok/s  time left 1:23");
  p.seconds_left = 3661;
  CHECK(progress_line(p).ends_with("time left 1:01:01"));
}

}  // namespace
}  // namespace tracewise
