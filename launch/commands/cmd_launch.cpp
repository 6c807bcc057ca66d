// tracewise launch: a run over several processes.
#include <sys/signalfd.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <thread>

#include "launch/commands/cli.hpp"
#include "launch/commands/summary.hpp"
#include "launch/launcher.hpp"
#include "launch/placement_print.hpp"
#include "launch/preflight.hpp"
#include "launch/slurm_job.hpp"
#include "launch/training.hpp"

namespace tracewise {
namespace {

// Blocks what asks for a stop, a closed terminal included, so that it can be read like input.
Fd stop_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&signals, number);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  return Fd(::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
}

struct Words {
  ConfigSource source;
  std::vector<std::filesystem::path> files;  // before those of --config
  std::filesystem::path resume;
  bool dry_run = false;
  bool json = false;
  bool wait = false;
};

Result<Config> config_of(Words& words) {
  if (words.resume.empty()) {
    if (words.source.files.empty()) return bad_input("launch needs a CONFIG, or --resume RUN");
    TW_ASSIGN(Config config, load_config(words.source));
    if (config.launch.run_dir.empty()) config.launch.run_dir = default_run_dir();
    return config;
  }
  if (!words.source.files.empty())
    return bad_input("--resume RUN takes the run's own config; leave CONFIG out");
  TW_TRY(check_resume_sets(words.source.sets));
  words.source.files = {words.resume / "config.toml"};
  TW_ASSIGN(Config config, load_config(words.source));
  config.launch.run_dir = std::filesystem::absolute(words.resume).lexically_normal().string();
  return config;
}

Result<std::string> dry_run(const Config& config, const Placement& placement, bool json) {
  TW_TRY(check_launch(config, placement));
  TW_ASSIGN(const ModelConfig model, read_run_model(config));
  std::vector<MemoryEstimate> estimates;
  for (const PlacedNode& node : placement.nodes)
    estimates.push_back(estimate_memory(config, model, node.seats, node.name == kHeadName));
  return json ? placement_json(placement, estimates) : placement_table(placement, estimates);
}

// The same launch, from another process and folder.
SlurmJob job_of(const Config& config, const Words& words) {
  SlurmJob job;
  job.run = config.launch.run_dir;
  job.folder = std::filesystem::current_path();
  job.binary = launch_host().binary;
  job.resume = !words.resume.empty();
  if (job.resume) {
    job.words = {"--resume", job.run.string()};
  } else {
    for (const auto& file : words.source.files)
      job.words.push_back(std::filesystem::absolute(file).lexically_normal().string());
  }
  for (const std::string& set : words.source.sets)
    job.words.insert(job.words.end(), {"--set", set});
  if (!job.resume) job.words.insert(job.words.end(), {"--set", "run.dir=" + job.run.string()});
  return job;
}

int submit(const Config& config, const Words& words) {
  const SlurmJob job = job_of(config, words);
  if (const auto good = check_training(config); !good.ok()) return fail(good.error());
  const auto code = submit_job(config, job, words.wait, [&](const std::string& id) {
    std::printf(
        "job %s is submitted: %s\nits words go to %s\nsqueue --jobs=%s shows it, scancel --batch "
        "--signal=TERM %s stops it with a checkpoint\n",
        id.c_str(), (job.run / "job.sbatch").c_str(), (job.run / "logs" / "job.log").c_str(),
        id.c_str(), id.c_str());
    std::fflush(stdout);
  });
  return code.ok() ? *code : fail(code.error());
}

Result<RunSummary> launch(Config config, bool resume, Placement placement) {
  const Fd signals = stop_signals();
  TW_TRY(check_launch(config, placement));
  TW_ASSIGN(const auto folder, LaunchFolder::open(config.launch.run_dir, resume));
  ProgressPrinter printer(stdout, isatty(STDOUT_FILENO) != 0);
  LaunchSetup setup;
  setup.config = std::move(config);
  setup.placement = std::move(placement);
  setup.resume = resume;
  setup.signal_fd = signals.get();
  setup.on_progress = [&](const Progress& progress) { printer.print(progress); };
  setup.on_event = [&](const std::string& line) {
    printer.finish();
    std::printf("%s\n", line.c_str());
    std::fflush(stdout);
  };
  auto summary = Launcher(setup, folder.get()).run();
  folder->remove_unused();
  return summary;
}

}  // namespace

int cmd_launch(const Args& args) {
  CLI::App app("Trains over several processes, here or on other hosts (keys: cluster.*).",
               "tracewise launch");
  Words words;
  app.add_option("CONFIG", words.files, "TOML files; a later one overrides an earlier one")
      ->type_name("FILE");
  add_config_options(app, words.source);
  app.add_option("--resume", words.resume, "run folder to go on with, by its own config")
      ->type_name("RUN");
  app.add_flag("--dry-run", words.dry_run, "print where everything would run, and start nothing");
  app.add_flag("--wait", words.wait, "a Slurm job that is submitted is waited for");
  app.add_flag("--json", words.json, "with --dry-run: as JSON")->needs("--dry-run");
  if (const auto exit = parse_args(app, args)) return *exit;

  words.source.files.insert(words.source.files.begin(), words.files.begin(), words.files.end());
  auto config = config_of(words);
  if (!config.ok()) return fail(config.error());
  auto placement = place(*config, launch_host());
  if (!placement.ok()) return fail(placement.error());
  if (words.dry_run) {
    const auto text = dry_run(*config, *placement, words.json);
    if (!text.ok()) return fail(text.error());
    std::fputs(text->c_str(), stdout);
    if (lacks_allocation(*config) && !words.json)
      std::printf("\njob.sbatch:\n%s", job_script(*config, job_of(*config, words)).c_str());
    return kExitDone;
  }
  if (lacks_allocation(*config)) return submit(*config, words);
  const std::string warning = thread_warning(*config, std::thread::hardware_concurrency());
  if (!warning.empty()) std::fprintf(stderr, "tracewise: warning: %s\n", warning.c_str());
  const auto summary = launch(std::move(*config), !words.resume.empty(), std::move(*placement));
  if (!summary.ok()) return fail(summary.error());
  print_summary(*summary);
  return summary->interrupted ? kExitInterrupted : kExitDone;
}

}  // namespace tracewise
