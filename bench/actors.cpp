#include "actors/plain_loop.hpp"
#include "bench/workload.hpp"
#include "launch/parts.hpp"
#include "launch/training.hpp"

namespace tracewise::bench {

// One compute thread a side: the loop's engine and learner share one pool of threads, the actors'
// have one each, which on few cores OpenMP throttles; that is not what is measured here.
Result<std::vector<BenchResult>> bench_actors(const BenchOptions& given) {
  BenchOptions options = given;
  options.threads = 1;
  TW_ASSIGN(const Workload workload, make_workload(options));
  TW_ASSIGN(const auto warm, warm_model(options, workload));
  std::vector<double> actors, loop;
  for (int r = 0; r < options.repetitions; ++r) {
    const std::filesystem::path run_dir = options.dir / "actors-run";
    std::error_code ignored;
    std::filesystem::remove_all(run_dir, ignored);
    TW_ASSIGN(const Config config, sspo_config(options, workload,
                                               {"model.dir=" + warm.string(), "run.steps=12",
                                                "run.dir=" + run_dir.string()}));
    TW_ASSIGN(const RunSummary summary, start_training(config, {}, {}, nullptr));
    actors.push_back(static_cast<double>(summary.step) / summary.train_seconds);

    const auto shared = std::make_shared<const Config>(config);
    TW_ASSIGN(ModelFolder model, load_model(config));
    TW_ASSIGN(const RunParts parts,
              run_parts(shared, std::make_shared<const ModelFolder>(std::move(model))));
    TW_ASSIGN(const PlainLoopResult plain, run_plain_loop(config.run, parts, options.dir));
    loop.push_back(static_cast<double>(plain.steps) / plain.seconds);
  }
  BenchResult result =
      summarise("actors, one generator", "steps/s", "the same parts in a plain loop", actors, loop);
  result.goal = 0.97;
  return std::vector{result};
}

}  // namespace tracewise::bench
