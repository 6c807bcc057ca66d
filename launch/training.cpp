#include "launch/training.hpp"

#include <chrono>
#include <ctime>

#include "actors/node.hpp"
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

Result<RunSummary> run(const std::shared_ptr<const Config>& config,
                       std::shared_ptr<RunFolder> folder, bool resume, RunParts parts,
                       std::stop_token stop, const ProgressReport& report) {
  parts.on_progress = report;
  return run_training(config->run, std::move(parts), std::move(folder), resume, stop);
}

// Everything that can be wrong with the input is found before the run folder is made.
Result<RunParts> load_parts(const std::shared_ptr<const Config>& config) {
  TW_TRY(check(config->run));
  TW_ASSIGN(ModelFolder model, load_model(*config));
  return run_parts(config, std::make_shared<const ModelFolder>(std::move(model)));
}

bool may_change_on_resume(const std::string& set) {
  const std::string key = set.substr(0, set.find('='));
  return key == "run.steps" || key == "run.budget_seconds" || key == "run.progress_seconds" ||
         key.starts_with("checkpoint.") || key.starts_with("deadlines.");
}

}  // namespace

Result<RunSummary> start_training(Config config, std::stop_token stop, const ProgressReport& report,
                                  std::filesystem::path* folder) {
  if (config.launch.run_dir.empty())
    config.launch.run_dir = std::filesystem::absolute("runs/" + time_name()).string();
  const auto shared = std::make_shared<const Config>(std::move(config));
  TW_ASSIGN(RunParts parts, load_parts(shared));
  TW_ASSIGN(auto run_folder, RunFolder::create(shared->launch.run_dir, config_toml(*shared, true)));
  if (folder != nullptr) *folder = shared->launch.run_dir;
  return run(shared, std::move(run_folder), /*resume=*/false, std::move(parts), stop, report);
}

Result<RunSummary> resume_training(const std::filesystem::path& folder,
                                   const std::vector<std::string>& sets, std::stop_token stop,
                                   const ProgressReport& report) {
  for (const std::string& set : sets) {
    if (!may_change_on_resume(set)) {
      return bad_input("--set " + set +
                       ": a resumed run keeps its config; run.steps, run.budget_seconds, "
                       "run.progress_seconds, checkpoint.* and deadlines.* may change");
    }
  }
  TW_ASSIGN(auto run_folder, RunFolder::open(folder));
  TW_ASSIGN(Config config, load_config({{run_folder->config()}, sets}));
  const auto shared = std::make_shared<const Config>(std::move(config));
  TW_ASSIGN(RunParts parts, load_parts(shared));
  return run(shared, std::move(run_folder), /*resume=*/true, std::move(parts), stop, report);
}

}  // namespace tracewise
