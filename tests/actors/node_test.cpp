// Whole runs of the actors in one process, with an engine and a trainer that have no model.
#include "actors/node.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <csignal>
#include <numeric>
#include <thread>

#include "actors/plain_loop.hpp"
#include "actors/run_books.hpp"
#include "model/file_io.hpp"
#include "tests/actors/fakes.hpp"
#include "tests/actors/temp_dir.hpp"

namespace tracewise {
namespace {

constexpr uint64_t kSeed = 11;

RunOptions options_of(uint64_t steps) {
  RunOptions o;
  o.groups_per_batch = 4;
  o.group_size = 3;
  o.steps = steps;
  o.seed = kSeed;
  o.eval.at_start = o.eval.at_end = false;
  o.progress_seconds = 0;
  return o;
}

// A run folder and the fakes' world; train() may be called again to resume.
struct Run {
  Result<RunSummary> train(const RunOptions& options, bool resume = false,
                           std::stop_token stop = {}) {
    return train(options, fake_parts(&world, kSeed), resume, std::move(stop));
  }
  Result<RunSummary> train(const RunOptions& options, RunParts parts, bool resume = false,
                           std::stop_token stop = {}) {
    auto made = resume ? RunFolder::open(dir.path()) : RunFolder::create(dir.path(), "");
    if (!made.ok()) return made.error();
    std::shared_ptr<RunFolder> folder = std::move(made).value();
    return run_training(options, std::move(parts), std::move(folder), resume, std::move(stop));
  }

  // The weights in the newest checkpoint.
  uint64_t state() const {
    const auto folder = RunFolder::open(dir.path()).value();
    const auto checkpoint = folder->newest_checkpoint(nullptr).value();
    return std::stoull(read_file(checkpoint->model() / "state", 100).value());
  }
  std::unique_ptr<Database> database() const {
    return Database::open(dir.path() / "run.db", Database::Mode::kReadOnly).value();
  }
  int64_t count(const char* sql) const {
    const auto db = database();
    Statement get = db->prepare(sql).value();
    REQUIRE(get.step().value());
    return get.integer(0);
  }

  TempDir dir;
  FakeWorld world;
};

uint64_t plain_state(const RunOptions& options) {
  FakeWorld world;
  world.max_delay_us = 0;
  TempDir dir;
  const auto result = run_plain_loop(options, fake_parts(&world, kSeed), dir.path());
  REQUIRE(result.ok());
  REQUIRE(result->steps == options.steps);
  return fake_state(*result->weights);
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::vector<uint64_t> first_groups(uint64_t n) {
  std::vector<uint64_t> ids(n);
  std::iota(ids.begin(), ids.end(), 0);
  return ids;
}

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

TEST_CASE("a failed group is issued again and trained once, with the same result") {
  Run run;
  run.world.fails = [](const GroupTask& task) {
    return task.key.group == 5 && task.key.attempt < 2;
  };
  const auto summary = run.train(options_of(3));
  REQUIRE(summary.ok());
  CHECK(summary->failed_groups == 0);
  CHECK(run.world.trained == first_groups(12));
  CHECK(run.state() == plain_state(options_of(3)));
  CHECK(run.count("SELECT attempt FROM groups WHERE id = 5") == 2);
  CHECK(run.count("SELECT count(*) FROM failures WHERE group_id = 5") == 2);
}

TEST_CASE("a group that keeps failing makes its batch smaller and the run goes on") {
  Run run;
  run.world.fails = [](const GroupTask& task) { return task.key.group == 5; };
  RunOptions options = options_of(3);
  options.max_attempts = 2;
  const auto summary = run.train(options);
  REQUIRE(summary.ok());
  CHECK(summary->step == 3);
  CHECK(summary->failed_groups == 1);
  CHECK(summary->rollouts == 11 * 3);
  CHECK(run.count("SELECT count(*) FROM groups WHERE state = 'failed' AND id = 5") == 1);
  CHECK(run.count("SELECT count(*) FROM groups WHERE state = 'committed'") == 11);
}

TEST_CASE("a step whose every group fails ends the run with the first cause") {
  Run run;
  run.world.fails = [](const GroupTask& task) { return task.key.group >= 4; };
  const auto summary = run.train(options_of(3));
  REQUIRE_FALSE(summary.ok());
  CHECK(contains(summary.error().message, "every group of step 2 failed: made to fail"));
}

TEST_CASE("an engine that throws ends the run with one sentence that names its generator") {
  Run run;
  run.world.before_step = [](uint32_t generator, uint64_t steps) {
    if (generator == 1 && steps == 2) throw std::runtime_error("the device is gone");
  };
  RunOptions options = options_of(3);
  options.generators = 2;
  options.generator_restarts = 0;
  const auto summary = run.train(options);
  REQUIRE_FALSE(summary.ok());
  CHECK(summary.error().message == "generator 1: the device is gone");
  CHECK(summary.error().error_class == ErrorClass::kInternal);
}

TEST_CASE("a generator that died is replaced and its groups give the same weights") {
  Run run;
  std::atomic<int> deaths{0};
  run.world.before_step = [&](uint32_t generator, uint64_t steps) {
    if (generator == 0 && steps == 4 && deaths < 2) {
      ++deaths;
      throw std::runtime_error("the device is gone");
    }
  };
  RunOptions options = options_of(5);
  options.generators = 2;
  options.generator_restarts = 2;
  const auto summary = run.train(options);
  INFO((summary.ok() ? std::string() : summary.error().message));
  REQUIRE(summary.ok());
  CHECK(deaths == 2);
  CHECK(run.world.engines_made == 4);
  CHECK(run.state() == plain_state(options_of(5)));
  CHECK(run.world.trained == first_groups(20));
}

TEST_CASE(
    "an engine that hangs past its group's deadline ends the run, and the stuck actor is named") {
  Run run;
  auto gate = std::make_shared<Gate>();
  run.world.before_step = [gate](uint32_t, uint64_t steps) {
    if (steps == 1) gate->wait();
  };
  RunOptions options = options_of(3);
  options.deadlines.group_ms = 200;
  options.deadlines.exit_ms = 200;
  const auto summary = run.train(options);
  REQUIRE_FALSE(summary.ok());
  CHECK(summary.error().error_class == ErrorClass::kDeadline);
  CHECK(contains(summary.error().message,
                 "of generator 0 was not finished within 200 ms (deadlines.group_ms); generator 0: "
                 "in an engine step for "));
  // Lets the left-over thread end before the world that it refers to does.
  gate->open();
  while (run.world.engines_alive > 0) std::this_thread::yield();
}

TEST_CASE(
    "probes that nobody answers fail their rollouts by the deadline, not the whole run at once") {
  Run run;
  run.world.swallow_probes = [](const ProbeRequest& probe) {
    return probe.key.group == 2 && probe.key.attempt == 0;
  };
  RunOptions options = options_of(2);
  options.deadlines.probe_ms = 100;
  REQUIRE(run.train(options).ok());
  CHECK(run.state() == plain_state(options_of(2)));
  CHECK(run.count("SELECT count(*) FROM failures WHERE group_id = 2 AND message LIKE "
                  "'no values within 100 ms%'") == 1);
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

TEST_CASE("evaluations are measured with the step's weights and change nothing in training") {
  RunOptions options = options_of(4);
  options.eval.at_start = options.eval.at_end = true;
  options.eval.every_steps = 2;
  options.eval.samples = 2;
  options.generators = 2;
  Run run;
  const auto summary = run.train(options);
  REQUIRE(summary.ok());
  REQUIRE(summary->evals.size() == 3);
  for (size_t i = 0; i < 3; ++i) {
    const EvalResult& eval = summary->evals[i];
    CHECK(eval.step == 2 * i);
    CHECK(eval.version == 2 * i);
    CHECK(eval.prompts == 3);
    CHECK(eval.rollouts == 6);
    CHECK(eval.tokens_mean >= 3);
    CHECK(eval.accuracy_low <= eval.accuracy);
  }
  CHECK(run.state() == plain_state(options_of(4)));
  CHECK(run.count("SELECT count(*) FROM metrics WHERE name = 'eval/accuracy'") == 3);
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

TEST_CASE("a trainer's error ends the run and names the learner") {
  Run run;
  run.world.before_update = [](uint64_t updates) -> Result<void> {
    if (updates == 1) return Error{ErrorClass::kInternal, "5 updates in a row were not finite"};
    return {};
  };
  const auto summary = run.train(options_of(3));
  REQUIRE_FALSE(summary.ok());
  CHECK(summary.error().message == "learner: 5 updates in a row were not finite");
}

TEST_CASE("parts that cannot be made end the run before it begins") {
  Run run;
  RunParts parts = fake_parts(&run.world, kSeed);
  parts.make_engine = [](uint32_t) -> Result<std::unique_ptr<Engine>> {
    return unsupported("device \"cuda:7\" is not here");
  };
  const auto no_engine = run.train(options_of(1), parts);
  REQUIRE_FALSE(no_engine.ok());
  CHECK(no_engine.error().message == "generator 0: device \"cuda:7\" is not here");
  CHECK(no_engine.error().error_class == ErrorClass::kUnsupported);

  Run other;
  parts = fake_parts(&other.world, kSeed);
  parts.make_trainer = []() -> Result<std::unique_ptr<Trainer>> { throw std::bad_alloc(); };
  const auto no_trainer = other.train(options_of(1), parts);
  REQUIRE_FALSE(no_trainer.ok());
  CHECK(contains(no_trainer.error().message, "learner"));

  Run empty;
  parts = fake_parts(&empty.world, kSeed);
  parts.prompts.clear();
  const auto no_prompts = empty.train(options_of(1), parts);
  REQUIRE_FALSE(no_prompts.ok());
  CHECK(no_prompts.error().error_class == ErrorClass::kBadInput);
}

TEST_CASE("a checkpoint that cannot be written ends the run and leaves the one before") {
  Run run;
  RunParts parts = fake_parts(&run.world, kSeed);
  const auto save = parts.save_model;
  auto saves = std::make_shared<std::atomic<int>>(0);
  parts.save_model = [=](const std::filesystem::path& dir, const Weights& weights) -> Result<void> {
    if (++*saves == 2) return io_error("no space left on device");
    return save(dir, weights);
  };
  RunOptions options = options_of(4);
  options.checkpoint.every_steps = 1;
  const auto full = run.train(options, parts);
  REQUIRE_FALSE(full.ok());
  CHECK(full.error().error_class == ErrorClass::kIo);
  CHECK(contains(full.error().message, "no space left on device"));
  CHECK(std::filesystem::exists(run.dir.path() / "checkpoints/step-1/state.json"));
  CHECK_FALSE(std::filesystem::exists(run.dir.path() / "checkpoints/step-2.tmp"));
  // With room on the disk again the run goes on to where it would have come.
  const auto resumed = run.train(options, true);
  REQUIRE(resumed.ok());
  CHECK(run.state() == plain_state(options_of(4)));
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
