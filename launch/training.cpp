#include "launch/training.hpp"

#include <chrono>
#include <cstdio>
#include <ctime>

#include "actors/node.hpp"
#include "launch/operator_door.hpp"
#include "launch/parts.hpp"

namespace tracewise {
namespace {

std::string time_name() {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  char text[32];
  std::strftime(text, sizeof text, "%Y%m%d-%H%M%S", &local);
  return text;
}

// One process has no seats elsewhere.
Result<void> check_in_process(const Config& config) {
  if (config.cluster.topology == Topology::kInProcess) return {};
  return bad_input(std::string("cluster.topology = \"") + to_string(config.cluster.topology) +
                   "\": a run over several processes is started by tracewise launch");
}

// A run folder with its prompts, and what the run is put together from.
struct Opened {
  std::shared_ptr<RunFolder> folder;
  RunParts parts;
};

// Everything that can be wrong with the input is found before the run folder is made.
Result<Opened> open_new(const std::shared_ptr<const Config>& config) {
  TW_TRY(check(config->run));
  TW_ASSIGN(ModelFolder loaded, load_start_model(*config));
  const auto model = std::make_shared<const ModelFolder>(std::move(loaded));
  TW_ASSIGN(const RunData data, load_run_data(*config, *model));
  for (const std::string& line : notes(*config, data))
    std::fprintf(stderr, "tracewise: %s\n", line.c_str());
  TW_ASSIGN(RunParts parts, run_parts(config, model, data));
  TW_ASSIGN(auto folder, RunFolder::create(config->launch.run_dir, config_toml(*config, true)));
  TW_TRY(save_run_data(folder->root(), data));
  return Opened{std::move(folder), std::move(parts)};
}

// With the prompts that the run began with.
Result<Opened> open_old(const std::shared_ptr<const Config>& config,
                        std::shared_ptr<RunFolder> folder) {
  TW_TRY(check(config->run));
  TW_ASSIGN(ModelFolder model, load_start_model(*config));
  TW_ASSIGN(RunData data, load_saved_data(folder->root(), *config));
  TW_ASSIGN(RunParts parts, run_parts(config, std::make_shared<const ModelFolder>(std::move(model)),
                                      std::move(data)));
  return Opened{std::move(folder), std::move(parts)};
}

Result<RunSummary> run(const std::shared_ptr<const Config>& config, Opened opened, bool resume,
                       std::stop_token stop, const ProgressReport& report, const HeadSetup* head) {
  opened.parts.on_progress = report;
  return run_training(config->run, std::move(opened.parts), std::move(opened.folder), resume, stop,
                      head);
}

// In this process alone; its owner may look into it.
Result<RunSummary> run_alone(const std::shared_ptr<const Config>& config, Opened opened,
                             bool resume, std::stop_token stop, const ProgressReport& report) {
  TW_ASSIGN(const auto door, OperatorDoor::make(opened.folder->root()));
  return run(config, std::move(opened), resume, stop, report, &door->setup());
}

bool may_change_on_resume(const std::string& set) {
  const std::string key = set.substr(0, set.find('='));
  return key == "run.steps" || key == "run.budget_seconds" || key == "run.progress_seconds" ||
         key.starts_with("checkpoint.") || key.starts_with("deadlines.") ||
         key.starts_with("cluster.");
}

}  // namespace

std::string default_run_dir() { return std::filesystem::absolute("runs/" + time_name()).string(); }

Result<void> check_resume_sets(const std::vector<std::string>& sets) {
  for (const std::string& set : sets) {
    if (may_change_on_resume(set)) continue;
    return bad_input("--set " + set +
                     ": a resumed run keeps its config; run.steps, run.budget_seconds, "
                     "run.progress_seconds, checkpoint.*, deadlines.* and cluster.* may change");
  }
  return {};
}

Result<RunSummary> train_as_head(Config config, bool resume, std::stop_token stop,
                                 const ProgressReport& report, const HeadSetup& head) {
  const auto shared = std::make_shared<const Config>(std::move(config));
  if (!resume) {
    TW_ASSIGN(Opened opened, open_new(shared));
    return run(shared, std::move(opened), resume, stop, report, &head);
  }
  TW_ASSIGN(auto folder, RunFolder::open(shared->launch.run_dir));
  TW_ASSIGN(Opened opened, open_old(shared, std::move(folder)));
  return run(shared, std::move(opened), resume, stop, report, &head);
}

Result<RunSummary> start_training(Config config, std::stop_token stop, const ProgressReport& report,
                                  std::filesystem::path* folder) {
  TW_TRY(check_in_process(config));
  if (config.launch.run_dir.empty()) config.launch.run_dir = default_run_dir();
  const auto shared = std::make_shared<const Config>(std::move(config));
  TW_ASSIGN(Opened opened, open_new(shared));
  if (folder != nullptr) *folder = shared->launch.run_dir;
  return run_alone(shared, std::move(opened), /*resume=*/false, stop, report);
}

Result<RunSummary> resume_training(const std::filesystem::path& folder,
                                   const std::vector<std::string>& sets, std::stop_token stop,
                                   const ProgressReport& report) {
  TW_TRY(check_resume_sets(sets));
  TW_ASSIGN(auto run_folder, RunFolder::open(folder));
  TW_ASSIGN(Config config, load_config({{run_folder->config()}, sets}));
  TW_TRY(check_in_process(config));
  const auto shared = std::make_shared<const Config>(std::move(config));
  TW_ASSIGN(Opened opened, open_old(shared, std::move(run_folder)));
  return run_alone(shared, std::move(opened), /*resume=*/true, stop, report);
}

}  // namespace tracewise
