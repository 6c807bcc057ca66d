// Whole runs of the actors in one process, with an engine and a trainer that have no model.
#include "actors/node.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <set>
#include <thread>

#include "actors/run_store.hpp"
#include "tests/actors/fake_run.hpp"

namespace tracewise {
namespace {

TEST_CASE("a run that was killed and resumed gives the weights of one that was not") {
  RunOptions options = options_of(6);
  options.generators = options.tracers = 2;
  options.checkpoint.every_steps = 3;
  Run run;
  const pid_t child = ::fork();
  if (child == 0) {
    run.world.before_update = [](uint64_t updates) -> Result<void> {
      if (updates == 5) ::raise(SIGKILL);  // two steps after the checkpoint, groups under way
      return {};
    };
    (void)run.train(options);
    ::_exit(0);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(WIFSIGNALED(status));
  REQUIRE(WTERMSIG(status) == SIGKILL);

  options.tracers = options.builders = 3;
  const auto resumed = run.train(options, true);
  REQUIRE(resumed.ok());
  CHECK(resumed->step == 6);
  CHECK(run.state() == plain_state(options_of(6)));
  // Steps 4 and 5 were trained by the killed process, but they are in no checkpoint of it.
  CHECK(run.world.trained == std::vector<uint64_t>{12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23});
  CHECK(run.count("SELECT count(*) FROM groups WHERE state = 'committed'") == 24);
  CHECK(run.count("SELECT count(*) FROM groups") == 24);
  CHECK(run.count("SELECT max(attempt) FROM groups WHERE id < 12") == 0);
  CHECK(run.count("SELECT min(attempt) FROM groups WHERE id BETWEEN 12 AND 19") == 1);
  CHECK(run.count("SELECT count(*) FROM metrics WHERE name = 'train/accuracy'") == 6);
}

TEST_CASE("synchronous weights are bit-equal whatever the number of actors and their order") {
  const uint64_t expected = plain_state(options_of(4));
  struct Shape {
    uint32_t generators, tracers, builders;
  };
  for (const Shape shape : {Shape{1, 1, 1}, Shape{1, 1, 1}, Shape{3, 1, 2}, Shape{2, 3, 1}}) {
    RunOptions options = options_of(4);
    options.generators = shape.generators;
    options.tracers = shape.tracers;
    options.builders = shape.builders;
    options.window_rollouts = shape.generators == 3 ? 1 : 256;  // credit runs out all the time
    options.window_samples = shape.generators == 3 ? 4 : 1024;
    Run run;
    const auto summary = run.train(options);
    REQUIRE(summary.ok());
    CHECK(summary->step == 4);
    CHECK(summary->version == 4);
    CHECK(summary->rollouts == 4 * 4 * 3);
    CHECK_FALSE(summary->interrupted);
    CHECK(run.state() == expected);
    CHECK(run.world.trained == first_groups(16));
    CHECK(run.world.greatest_staleness == 0);
  }
}

TEST_CASE("asynchronous training keeps its staleness bound and trains every group once") {
  RunOptions options = options_of(12);
  options.max_staleness = 2;
  options.generators = 3;
  options.tracers = options.builders = 2;
  Run run;
  REQUIRE(run.train(options).ok());
  CHECK(run.world.greatest_staleness <= 2);
  std::vector<uint64_t> trained = run.world.trained;
  std::sort(trained.begin(), trained.end());
  CHECK(trained == first_groups(48));
  CHECK(run.count("SELECT count(*) FROM groups WHERE state = 'committed'") == 48);
}

TEST_CASE("a slow group does not hold up asynchronous training, and is trained in the end") {
  RunOptions options = options_of(6);
  options.groups_per_batch = 2;
  options.max_staleness = 2;
  options.generators = 2;
  options.window_samples = 3;  // a group at a time for each generator
  Run run;
  Gate gate;
  std::atomic<bool> first{true};
  std::atomic<uint64_t> updates_meanwhile{0};
  run.world.before_step = [&](uint32_t generator, uint64_t) {
    if (generator == 0 && first.exchange(false)) gate.wait();
  };
  run.world.before_update = [&](uint64_t updates) -> Result<void> {
    updates_meanwhile = updates + 1;
    if (updates == 1) gate.open();
    return {};
  };
  REQUIRE(run.train(options).ok());
  CHECK(updates_meanwhile == 6);
  std::vector<uint64_t> trained = run.world.trained;
  std::sort(trained.begin(), trained.end());
  CHECK(trained == first_groups(12));
  CHECK(run.world.greatest_staleness <= 2);
}

TEST_CASE("a stop is answered with a checkpoint from which the run goes on to the same weights") {
  RunOptions options = options_of(60);
  Run run;
  run.world.max_delay_us = 50;
  std::stop_source stop;
  run.world.before_update = [&](uint64_t updates) -> Result<void> {
    if (updates == 3) stop.request_stop();
    if (updates > 3) std::this_thread::sleep_for(std::chrono::milliseconds(20));
    return {};
  };
  const auto begun = std::chrono::steady_clock::now();
  const auto stopped = run.train(options, false, stop.get_token());
  CHECK(std::chrono::steady_clock::now() - begun < std::chrono::seconds(10));
  REQUIRE(stopped.ok());
  CHECK(stopped->interrupted);
  CHECK(stopped->step >= 3);
  CHECK(stopped->step < 60);
  CHECK(std::filesystem::exists(run.dir.path() / "checkpoints" /
                                ("step-" + std::to_string(stopped->step)) / "state.json"));
  run.world.before_update = nullptr;
  const auto resumed = run.train(options, true);
  REQUIRE(resumed.ok());
  CHECK_FALSE(resumed->interrupted);
  CHECK(run.state() == plain_state(options));
}

TEST_CASE("a stop while the actors start ends the run before anything is issued") {
  RunOptions options = options_of(2);
  options.generators = 2;
  Run run;
  std::stop_source stop;
  RunParts parts = fake_parts(&run.world, kSeed);
  parts.make_engine = [&, make = parts.make_engine](uint32_t generator) {
    stop.request_stop();
    return make(generator);
  };
  const auto stopped = run.train(options, parts, false, stop.get_token());
  REQUIRE(stopped.ok());
  CHECK(stopped->interrupted);
  CHECK(stopped->step == 0);
  CHECK(stopped->checkpoint.empty());
  CHECK(run.count("SELECT count(*) FROM groups") == 0);
  REQUIRE(run.train(options, true).ok());
  CHECK(run.state() == plain_state(options));
  // A stopped resume says where the run stands.
  options.steps = 4;
  std::stop_source at_once;
  at_once.request_stop();
  const auto resumed = run.train(options, true, at_once.get_token());
  REQUIRE(resumed.ok());
  CHECK(resumed->interrupted);
  CHECK(resumed->step == 2);
  CHECK(std::filesystem::path(resumed->checkpoint).filename() == "step-2");
}

TEST_CASE("evaluations are measured with the step's weights and change nothing in training") {
  RunOptions options = options_of(4);
  options.eval.at_start = options.eval.at_end = true;
  options.eval.every_steps = 2;
  options.eval.pass_at = {1, 2};
  options.eval.save_outputs = 1;
  options.eval.best_set = "other";
  options.generators = 2;
  Run run;
  const auto summary = run.train(options);
  REQUIRE(summary.ok());
  REQUIRE(summary->evals.size() == 3);
  for (size_t i = 0; i < 3; ++i) {
    const EvalResult& eval = summary->evals[i];
    CHECK(eval.step == 2 * i);
    CHECK(eval.version == 2 * i);
    // The fake's sets: 3 prompts with 2 samples, 1 with 3.
    CHECK(eval.prompts == 4);
    CHECK(eval.rollouts == 9);
    REQUIRE(eval.sets.size() == 2);
    CHECK(eval.sets[1].name == "other");
    CHECK(eval.sets[1].rollouts == 3);
    CHECK(eval.accuracy == Approx((eval.sets[0].accuracy + eval.sets[1].accuracy) / 2));
    CHECK(eval.pass_at[0].value <= eval.pass_at[1].value);
    CHECK(eval.tokens_mean >= 3);
    CHECK(eval.accuracy_low <= eval.accuracy);
  }
  CHECK(run.state() == plain_state(options_of(4)));
  CHECK(run.count("SELECT count(*) FROM metrics WHERE name = 'eval/accuracy'") == 3);
  CHECK(run.count("SELECT count(*) FROM metrics WHERE name = 'eval/other/pass_at_2'") == 3);
  // Outputs of the newest, and of the best by the set other, which may be the newest.
  const auto best = std::ranges::max_element(
      summary->evals, {}, [](const EvalResult& eval) { return eval.sets[1].accuracy; });
  CHECK(summary->best_step == best->step);
  std::set<std::string> outputs;
  for (const auto& file : std::filesystem::directory_iterator(run.dir / "evals"))
    outputs.insert(file.path().filename().string());
  CHECK(outputs ==
        std::set<std::string>{"step-4.jsonl", "step-" + std::to_string(best->step) + ".jsonl"});
  CHECK(slurp(run.dir / "evals/step-4.jsonl") == "9");
  // log_rollouts = 2 of each evaluation and each step.
  CHECK(run.count("SELECT count(*) FROM rollouts WHERE purpose = 1") == 6);
  CHECK(run.count("SELECT count(*) FROM rollouts WHERE purpose = 0") == 8);
  // The same weights and seed measure the same.
  Run again;
  const auto second = again.train(options);
  REQUIRE(second.ok());
  CHECK(second->evals[2].accuracy == summary->evals[2].accuracy);
  CHECK(second->evals[2].tokens_mean == summary->evals[2].tokens_mean);
}

TEST_CASE("a resumed run forgets what was evaluated after its checkpoint") {
  RunOptions options = options_of(6);
  options.checkpoint.every_steps = 3;
  options.eval.at_start = options.eval.at_end = false;
  options.eval.every_steps = 1;
  options.eval.save_outputs = 10;
  Run run;
  const pid_t child = ::fork();
  if (child == 0) {
    run.world.before_update = [](uint64_t updates) -> Result<void> {
      if (updates == 5) ::raise(SIGKILL);
      return {};
    };
    (void)run.train(options);
    ::_exit(0);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(WIFSIGNALED(status));
  const auto output = [&](int step) {
    return run.dir / "evals" / ("step-" + std::to_string(step) + ".jsonl");
  };
  REQUIRE(std::filesystem::exists(output(4)));  // in no checkpoint

  options.steps = 3;
  const auto resumed = run.train(options, true);
  REQUIRE(resumed.ok());
  CHECK(resumed->step == 3);
  for (const int step : {1, 2, 3}) CHECK(std::filesystem::exists(output(step)));
  CHECK_FALSE(std::filesystem::exists(output(4)));
  CHECK(run.count("SELECT max(step) FROM metrics WHERE name = 'eval/other/accuracy'") == 3);
}

TEST_CASE("logged rollouts have the advantages of their steps") {
  Run run;
  REQUIRE(run.train(options_of(1)).ok());
  const auto db = run.database();
  auto store = RunStore::open(db.get(), Database::Mode::kReadOnly).value();
  const auto rollouts = store->rollouts(Purpose::kTrain).value();
  REQUIRE(rollouts.size() == 2);
  for (const LoggedRollout& logged : rollouts) {
    CHECK(logged.step == 1);
    CHECK(logged.advantages.size() == logged.traced.step_ends.size());
    CHECK(logged.traced.values.size() == logged.traced.step_ends.size());
  }
}

TEST_CASE("a budget in seconds ends the run, evaluation time aside") {
  RunOptions options = options_of(0);
  options.budget_seconds = 0.3;
  options.eval.at_end = true;
  Run run;
  const auto summary = run.train(options);
  REQUIRE(summary.ok());
  CHECK(summary->step > 0);
  CHECK(summary->train_seconds >= 0.3);
  CHECK(summary->evals.size() == 1);
  CHECK(summary->evals[0].step == summary->step);
}

TEST_CASE("progress is reported to the thread that waits for the run") {
  Run run;
  RunParts parts = fake_parts(&run.world, kSeed);
  std::vector<Progress> seen;
  parts.on_progress = [&](const Progress& progress) { seen.push_back(progress); };
  RunOptions options = options_of(0);
  options.budget_seconds = 0.5;
  options.progress_seconds = 0.05;
  REQUIRE(run.train(options, parts).ok());
  REQUIRE(seen.size() >= 2);
  CHECK(seen.back().step > seen.front().step);
}

}  // namespace
}  // namespace tracewise
