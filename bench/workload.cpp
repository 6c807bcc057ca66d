#include "bench/workload.hpp"

#include "launch/parts.hpp"
#include "launch/supervised.hpp"

namespace tracewise::bench {

Result<Workload> make_workload(const BenchOptions& options) {
  Workload workload;
  TW_ASSIGN(const auto task, demo::make_task("last-digit"));
  TW_ASSIGN(workload.files, demo::write_task_files(*task, options.dir, 1, {4000, 512, 16, 16}));
  TW_ASSIGN(workload.model, load_model(workload.files.model, ModelDtype::kStored));
  DatasetOptions data;
  data.path = workload.files.prompts;
  TW_ASSIGN(workload.prompts, load_prompts(data, workload.model));
  return workload;
}

Result<std::filesystem::path> warm_model(const BenchOptions& options, const Workload& workload) {
  const std::filesystem::path out = options.dir / "warm-2200";
  if (std::filesystem::exists(out / "config.json")) return out;
  TW_ASSIGN(
      const Config config,
      load_config({{std::filesystem::path(TRACEWISE_CONFIGS) / "sft.toml"},
                   {"model.dir=" + workload.files.model.string(),
                    "sft.data=" + workload.files.corpus.string(), "sft.out=" + out.string(),
                    "sft.steps=2200", "trainer.threads=" + std::to_string(options.threads)}}));
  TW_TRY(train_supervised(config, {}, [](const SupervisedProgress&) {}));
  return out;
}

Result<Config> sspo_config(const BenchOptions& options, const Workload& workload,
                           std::vector<std::string> sets) {
  const std::filesystem::path configs = TRACEWISE_CONFIGS;
  sets.insert(sets.begin(), {"model.dir=" + workload.files.model.string(),
                             "data.prompts=" + workload.files.prompts.string(),
                             "engine.threads=" + std::to_string(options.threads),
                             "trainer.threads=" + std::to_string(options.threads),
                             "run.generators=1", "run.progress_seconds=0", "run.seed=1"});
  return load_config({{configs / "demo.toml", configs / "sspo.toml"}, std::move(sets)});
}

}  // namespace tracewise::bench
