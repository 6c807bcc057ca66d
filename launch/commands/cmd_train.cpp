// tracewise train: a run of the actors, new or resumed.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <thread>

#include "launch/commands/cli.hpp"
#include "launch/commands/summary.hpp"
#include "launch/signals.hpp"
#include "launch/training.hpp"

namespace tracewise {

int cmd_train(const Args& args) {
  CLI::App app("Trains a model on prompts (keys: run.*, model.*, data.*, advantage.*, ...).",
               "tracewise train");
  ConfigSource source;
  std::filesystem::path resume;
  add_config_options(app, source);
  app.add_option("--resume", resume, "run folder to go on with, by its own config")
      ->type_name("RUN");
  if (const auto exit = parse_args(app, args)) return *exit;
  if (!resume.empty() && !source.files.empty())
    return fail(bad_input("--resume RUN takes the run's own config; leave --config out"));

  const std::stop_token stop = stop_on_signals();
  ProgressPrinter printer(stdout, isatty(STDOUT_FILENO) != 0);
  const ProgressReport report = [&](const Progress& progress) { printer.print(progress); };
  Result<RunSummary> summary = RunSummary{};
  if (!resume.empty()) {
    summary = resume_training(resume, source.sets, stop, report);
  } else {
    auto config = load_config(source);
    if (!config.ok()) return fail(config.error());
    const std::string warning = thread_warning(*config, std::thread::hardware_concurrency());
    if (!warning.empty()) std::fprintf(stderr, "tracewise: warning: %s\n", warning.c_str());
    summary = start_training(std::move(*config), stop, report, nullptr);
  }
  printer.finish();
  if (!summary.ok()) return fail(summary.error());
  print_summary(*summary);
  return summary->interrupted ? kExitInterrupted : kExitDone;
}

}  // namespace tracewise
