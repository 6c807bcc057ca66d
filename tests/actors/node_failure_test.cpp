// What a run of the actors does when a part of it fails.
#include <stdexcept>
#include <thread>

#include "tests/actors/fake_run.hpp"

namespace tracewise {
namespace {

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
  options.restarts = 0;
  const auto summary = run.train(options);
  REQUIRE_FALSE(summary.ok());
  CHECK(summary.error().message == "generator 1: the device is gone");
  CHECK(summary.error().error_class == ErrorClass::kInternal);
}

TEST_CASE("a generator that died is replaced and its groups give the same weights") {
  Run run;
  std::atomic<int> deaths{0};
  run.world.before_step = [&](uint32_t generator, uint64_t steps) {
    if (generator != 1 && steps == 4 && deaths < 2) {
      ++deaths;
      throw std::runtime_error("the device is gone");
    }
  };
  RunOptions options = options_of(5);
  options.generators = 2;
  options.restarts = 2;
  const auto summary = run.train(options);
  INFO((summary.ok() ? std::string() : summary.error().message));
  REQUIRE(summary.ok());
  CHECK(deaths == 2);
  CHECK(run.world.engines_made == 4);
  CHECK(run.state() == plain_state(options_of(5)));
  CHECK(run.world.trained == first_groups(20));
}

TEST_CASE("a reward function that crashes and hangs costs those samples and nothing else") {
  TempDir dir;
  const std::string file =
      dir.put("own_reward.py",
              "import os, time\n"
              "def first(name):\n"
              "  try: os.mkdir(os.path.join(os.path.dirname(__file__), name))\n"
              "  except FileExistsError: return False\n"
              "  return True\n"
              "def reward(response, answer, id):\n"
              "  if id == 'p2' and first('crashed'): os.abort()\n"
              "  if id == 'p3' and first('hung'): time.sleep(1000)\n"
              "  return float(response.rsplit('\\n', 1)[-1] == answer)\n")
          .string();
  Run run;
  RunParts parts = fake_parts(&run.world, kSeed);
  parts.make_tracer = [&] {
    TracerOptions options;
    options.steps.delimiters = {"\n"};
    options.verifier = {.kind = VerifierKind::kPython, .file = file, .timeout_ms = 1000};
    options.probe.mode = ProbeMode::kLikelihood;
    options.probe.probe_text = "";
    return Tracer::make(options, *fake_tokenizer());
  };
  const auto summary = run.train(options_of(3), parts);
  INFO((summary.ok() ? std::string() : summary.error().message));
  REQUIRE(summary.ok());
  CHECK(std::filesystem::exists(dir / "crashed"));
  CHECK(std::filesystem::exists(dir / "hung"));
  CHECK(summary->rollouts == 12 * 3 - 2);
  CHECK(summary->failed_groups == 0);
  CHECK(run.world.trained == first_groups(12));
}

TEST_CASE("a tracer that died is replaced and its groups give the same weights") {
  Run run;
  RunParts parts = fake_parts(&run.world, kSeed);
  std::atomic<int> asked{0};
  parts.make_tracer = [&asked]() -> Result<std::unique_ptr<Tracer>> {
    TracerOptions options;
    options.steps.delimiters = {"\n"};
    options.verifier.answer_prefix = "\n";
    options.probe.mode = ProbeMode::kLikelihood;
    options.probe.probe_text = "";
    options.worth_probing = [&asked](std::span<const TracedRollout>) {
      if (++asked == 9) throw std::runtime_error("the tokenizer is gone");
      return true;
    };
    return Tracer::make(options, *fake_tokenizer());
  };
  RunOptions options = options_of(5);
  options.generators = 2;
  options.tracers = 2;
  options.restarts = 1;
  const auto summary = run.train(options, parts);
  INFO((summary.ok() ? std::string() : summary.error().message));
  REQUIRE(summary.ok());
  CHECK(asked > 9);
  CHECK(run.state() == plain_state(options_of(5)));
  CHECK(run.world.trained == first_groups(20));
  CHECK(run.count("SELECT count(*) FROM failures WHERE message LIKE "
                  "'tracer % was lost: the tokenizer is gone'") > 0);
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

TEST_CASE("a stop during a checkpoint that hangs ends the run by the stop's deadline") {
  Run run;
  RunParts parts = fake_parts(&run.world, kSeed);
  auto gate = std::make_shared<Gate>();
  std::stop_source stop;
  // Touches nothing of the test after the gate: its thread is left over.
  parts.save_model = [=](const std::filesystem::path&, const Weights&) mutable -> Result<void> {
    stop.request_stop();
    gate->wait();
    return io_error("too late");
  };
  RunOptions options = options_of(4);
  options.checkpoint.every_steps = 1;
  options.deadlines.stop_ms = options.deadlines.exit_ms = 200;
  const auto begun = std::chrono::steady_clock::now();
  const auto stopped = run.train(options, parts, false, stop.get_token());
  CHECK(std::chrono::steady_clock::now() - begun < std::chrono::seconds(10));
  REQUIRE_FALSE(stopped.ok());
  CHECK(stopped.error().error_class == ErrorClass::kDeadline);
  CHECK(contains(stopped.error().message,
                 "the checkpoint after step 1 was not written within 200 ms (deadlines.stop_ms); "
                 "learner: writing a checkpoint for "));
  gate->open();
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

}  // namespace
}  // namespace tracewise
