#include "actors/plain_loop.hpp"
#include "bench/workload.hpp"
#include "launch/parts.hpp"
#include "launch/training.hpp"

namespace tracewise::bench {
namespace {

constexpr int kSteps = 12;

// Steps/s of a run of the actors.
Result<double> train(const BenchOptions& options, const Workload& workload,
                     const std::filesystem::path& model, std::vector<std::string> sets) {
  const std::filesystem::path run_dir = options.dir / "actors-run";
  std::error_code ignored;
  std::filesystem::remove_all(run_dir, ignored);
  sets.insert(sets.end(), {"model.dir=" + model.string(), "run.dir=" + run_dir.string(),
                           "run.steps=" + std::to_string(kSteps)});
  TW_ASSIGN(const Config config, sspo_config(options, workload, std::move(sets)));
  TW_ASSIGN(const RunSummary summary, start_training(config, {}, {}, nullptr));
  return static_cast<double>(summary.step) / summary.train_seconds;
}

// Steps/s of the same parts without actors.
Result<double> train_in_a_loop(const BenchOptions& options, const Workload& workload,
                               const std::filesystem::path& model) {
  TW_ASSIGN(const Config config,
            sspo_config(options, workload,
                        {"model.dir=" + model.string(), "run.steps=" + std::to_string(kSteps)}));
  const auto shared = std::make_shared<const Config>(config);
  TW_ASSIGN(ModelFolder folder, load_model(config));
  TW_ASSIGN(RunData data, load_run_data(config, folder));
  TW_ASSIGN(
      const RunParts parts,
      run_parts(shared, std::make_shared<const ModelFolder>(std::move(folder)), std::move(data)));
  TW_ASSIGN(const PlainLoopResult plain, run_plain_loop(config.run, parts, options.dir));
  return static_cast<double>(plain.steps) / plain.seconds;
}

}  // namespace

// One compute thread a side: the loop's engine and learner share one pool of threads, the actors'
// have one each, which on few cores OpenMP throttles; that is not what is measured here.
Result<std::vector<BenchResult>> bench_actors(const BenchOptions& given) {
  BenchOptions options = given;
  options.threads = 1;
  TW_ASSIGN(const Workload workload, make_workload(options));
  TW_ASSIGN(const auto warm, warm_model(options, workload));
  std::vector<double> actors, loop, asynchronous, synchronous;
  for (int r = 0; r < options.repetitions; ++r) {
    TW_ASSIGN(const double speed, train(options, workload, warm, {}));
    TW_ASSIGN(const double plain, train_in_a_loop(options, workload, warm));
    actors.push_back(speed);
    loop.push_back(plain);
    // Two cores either way: both sample and then both train, or one does each all the time.
    TW_ASSIGN(const Config config, sspo_config(options, workload, {}));
    const auto samples = static_cast<double>(config.run.groups_per_batch * config.run.group_size);
    TW_ASSIGN(const double beside, train(options, workload, warm, {"run.max_staleness=1"}));
    TW_ASSIGN(const double in_turn,
              train(options, workload, warm, {"run.generators=2", "trainer.threads=2"}));
    asynchronous.push_back(samples * beside);
    synchronous.push_back(samples * in_turn);
  }
  std::vector results{
      summarise("actors, one generator", "steps/s", "the same parts in a plain loop", actors, loop),
      summarise("asynchronous", "samples/s", "synchronous, the same two cores", asynchronous,
                synchronous)};
  results[0].goal = 0.97;
  return results;
}

}  // namespace tracewise::bench
