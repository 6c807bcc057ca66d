// Asynchronous runs of the real engine and trainer: which versions the trained tokens are of, and
// what the metrics say of them.
#include <catch2/catch.hpp>

#include <atomic>
#include <mutex>
#include <nlohmann/json.hpp>

#include "actors/node.hpp"
#include "launch/config.hpp"
#include "launch/parts.hpp"
#include "tests/integration/small_task.hpp"

using namespace tracewise;

namespace {

// What was trained on, by the trainer of a run.
struct Trained {
  std::atomic<uint64_t> sampled = 0;  // rollouts that came to their end, in all engines
  std::mutex mutex;                   // of all below
  uint64_t greatest_lag = 0;
  bool from_the_future = false;
  size_t rollouts = 0, stale = 0;
  size_t mixed = 0;  // rollouts of more than one version
};

// A trainer that looks at what it is given.
class WatchedTrainer final : public Trainer {
 public:
  WatchedTrainer(std::unique_ptr<Trainer> trainer, Trained* trained)
      : trainer_(std::move(trainer)), trained_(trained) {}

  Result<TrainReport> train(std::span<const SampleGroup> groups, uint64_t version, double progress,
                            const std::filesystem::path& dump_dir) override {
    for (const SampleGroup& group : groups)
      for (const AdvantageRollout& rollout : group.rollouts) look(rollout.versions, version);
    return trainer_->train(groups, version, progress, dump_dir);
  }
  Result<TrainReport> train_supervised(std::span<const SupervisedExample> examples, double progress,
                                       const std::filesystem::path& dump_dir) override {
    return trainer_->train_supervised(examples, progress, dump_dir);
  }
  WeightsPtr weights(uint64_t version, const AllocateWeights& allocate) const override {
    return trainer_->weights(version, allocate);
  }
  Result<void> save_optimizer(const std::filesystem::path& file) const override {
    return trainer_->save_optimizer(file);
  }
  Result<void> restore(WeightsPtr weights, const std::filesystem::path& file) override {
    return trainer_->restore(std::move(weights), file);
  }

 private:
  void look(const std::vector<uint64_t>& versions, uint64_t version) {
    const std::lock_guard lock(trained_->mutex);
    for (const uint64_t v : versions) {
      trained_->from_the_future |= v > version;
      trained_->greatest_lag = std::max(trained_->greatest_lag, version - std::min(v, version));
    }
    ++trained_->rollouts;
    trained_->stale += versions.front() < version ? 1 : 0;
    trained_->mixed += versions.front() != versions.back() ? 1 : 0;
  }

  std::unique_ptr<Trainer> trainer_;
  Trained* trained_;
};

constexpr uint64_t kGroupsPerBatch = 3, kGroupSize = 4;

// An engine that crawls from when the batch of newer weights has been sampled until they are here,
// so that they come amid its rollouts.
class CrawlingEngine final : public Engine {
 public:
  CrawlingEngine(std::unique_ptr<Engine> engine, Trained* trained)
      : engine_(std::move(engine)), trained_(trained) {}

  void submit(GroupTask task) override { engine_->submit(std::move(task)); }
  void probe(ProbeRequest request) override { engine_->probe(std::move(request)); }
  uint64_t adopt(std::vector<int32_t> tokens) override { return engine_->adopt(std::move(tokens)); }
  void release(uint64_t lease) override { engine_->release(lease); }
  void cancel(GroupKey key) override { engine_->cancel(key); }
  Result<void> prepare(const WeightsPtr& weights) override { return engine_->prepare(weights); }
  Result<void> set_weights(WeightsPtr weights) override {
    version_ = weights->version();
    return engine_->set_weights(std::move(weights));
  }
  EngineOutput step(Clock::time_point now) override {
    if (trained_->sampled >= (version_ + 1) * kGroupsPerBatch * kGroupSize)
      std::this_thread::sleep_for(std::chrono::milliseconds(15));
    EngineOutput output = engine_->step(now);
    trained_->sampled += output.rollouts.size();
    return output;
  }
  EngineStats stats() const override { return engine_->stats(); }

 private:
  std::unique_ptr<Engine> engine_;
  Trained* trained_;
  uint64_t version_ = 0;
};

// A run in this process, with `sets` beside those of Task::train(). Its metrics, one object a step.
std::vector<nlohmann::json> run(const Task& task, const std::string& name, const Words& sets,
                                Trained* trained) {
  ConfigSource source;
  const Words words = task.train(name, sets);
  for (size_t i = 0; i + 1 < words.size(); ++i) {
    if (words[i] == "--config") source.files.emplace_back(words[i + 1]);
    if (words[i] == "--set") source.sets.push_back(words[i + 1]);
  }
  auto loaded = load_config(source);
  REQUIRE(loaded.ok());
  const auto config = std::make_shared<const Config>(std::move(*loaded));
  auto model = load_model(*config);
  REQUIRE(model.ok());
  auto data = load_run_data(*config, *model);
  REQUIRE(data.ok());
  auto parts =
      run_parts(config, std::make_shared<const ModelFolder>(std::move(*model)), std::move(*data));
  REQUIRE(parts.ok());
  parts->make_trainer = [make = parts->make_trainer,
                         trained]() -> Result<std::unique_ptr<Trainer>> {
    TW_ASSIGN(auto trainer, make());
    return std::unique_ptr<Trainer>(new WatchedTrainer(std::move(trainer), trained));
  };
  parts->make_engine = [make = parts->make_engine,
                        trained](uint32_t number) -> Result<std::unique_ptr<Engine>> {
    TW_ASSIGN(auto engine, make(number));
    return std::unique_ptr<Engine>(new CrawlingEngine(std::move(engine), trained));
  };
  std::shared_ptr<RunFolder> folder = RunFolder::create(config->launch.run_dir, "").value();
  const auto summary = run_training(config->run, std::move(*parts), folder, false, {});
  INFO((summary.ok() ? "" : summary.error().message));
  REQUIRE(summary.ok());
  std::vector<nlohmann::json> steps;
  std::istringstream lines(slurp(task / (name + "/metrics.jsonl")));
  for (std::string line; std::getline(lines, line);) steps.push_back(nlohmann::json::parse(line));
  return steps;
}

// Few rollouts run at a time, so others wait to be started when weights come.
const Words kAsynchronous = {"run.steps=5",
                             "run.generators=2",
                             "engine.max_sequences=6",
                             "run.groups_per_batch=" + std::to_string(kGroupsPerBatch),
                             "run.group_size=" + std::to_string(kGroupSize),
                             "checkpoint.every_steps=0",
                             "trainer.logprob_gap_alarm=1e-9"};

double total(const std::vector<nlohmann::json>& steps, const std::string& name) {
  double sum = 0;
  for (const nlohmann::json& step : steps) sum += step.value(name, 0.0);
  return sum;
}

}  // namespace

TEST_CASE("no trained token is older than max_staleness, whatever new weights mean for rollouts") {
  const Task task;
  for (const std::string mode : {"keep_cache", "recompute_cache", "finish_first"}) {
    for (const uint64_t bound : {1u, 2u}) {
      INFO(mode << ", max_staleness " << bound);
      Words sets = kAsynchronous;
      sets.push_back("engine.on_new_weights=" + mode);
      sets.push_back("run.max_staleness=" + std::to_string(bound));
      const std::string name = mode + std::to_string(bound);
      Trained trained;
      const auto steps = run(task, name, sets, &trained);
      REQUIRE(steps.size() == 5);
      CHECK(trained.greatest_lag <= bound);
      CHECK_FALSE(trained.from_the_future);
      CHECK(trained.stale > 0);  // else the run was not asynchronous at all
      if (mode == "finish_first") {
        CHECK(trained.mixed == 0);
      } else {
        CHECK(trained.mixed > 0);
        CHECK(total(steps, "rollout/swap_pause_ms_max") > 0);
      }
      // Fresh rollouts have the bits of the learner's own pass: even this alarm is silent.
      CHECK(total(steps, "train/logprob_gap_alarm") == 0);
      CHECK(total(steps, "version_lag/0") + total(steps, "version_lag/1") +
                total(steps, "version_lag/2") ==
            total(steps, "train/trained_tokens"));
      CHECK(total(steps, "version_lag/3") + total(steps, "version_lag/4_up") == 0);
      CHECK((steps.back().at("rollout/recomputed_tokens") > 0) == (mode == "recompute_cache"));
    }
  }
}

TEST_CASE("a synchronous run has no lag, no gap and no alarm, in each mode the same weights") {
  const Task task;
  std::string weights;
  for (const std::string mode : {"keep_cache", "recompute_cache", "finish_first"}) {
    INFO(mode);
    Trained trained;
    const auto steps = run(task, mode, {"engine.on_new_weights=" + mode}, &trained);
    REQUIRE(steps.size() == 6);
    CHECK(trained.greatest_lag == 0);
    CHECK(total(steps, "version_lag/0") == total(steps, "train/trained_tokens"));
    CHECK(total(steps, "train/fresh_logprob_gap_max") == 0);
    CHECK(total(steps, "train/logprob_gap_alarm") == 0);
    CHECK(total(steps, "train/effective_sample_share") == Approx(6));
    CHECK(total(steps, "train/behaviour_ratio_max") == Approx(6));
    if (weights.empty()) weights = task.weights(mode);
    CHECK(task.weights(mode) == weights);
  }
}
