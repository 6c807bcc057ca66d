// tracewise doctor: whether the hosts of a config are fit for its run.
#include <fcntl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>

#include "launch/build_id.hpp"
#include "launch/commands/cli.hpp"
#include "launch/doctor/doctor.hpp"
#include "launch/doctor/host_check.hpp"
#include "launch/doctor/judge.hpp"
#include "launch/memory_estimate.hpp"
#include "launch/preflight.hpp"
#include "launch/training.hpp"
#include "launch/weights_placement.hpp"

namespace tracewise {
namespace {

// A host's process ends by itself after this, whatever became of the doctor.
constexpr unsigned kHostSeconds = 600;

int report_host() {
  ::alarm(kHostSeconds);
  std::signal(SIGPIPE, SIG_IGN);
  // Standard output is for answers: what libraries print goes to standard error.
  const int out = ::fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
  ::dup2(STDERR_FILENO, STDOUT_FILENO);
  const auto served = serve_doctor(STDIN_FILENO, out);
  return served.ok() ? kExitDone : fail(served.error());
}

Needs needs_of(const Config& config, const Placement& placement) {
  Needs needs;
  needs.build = build_id();
  needs.protocol = kProtocol;
  needs.nodes = placement.nodes.size();
  needs.engine_threads = static_cast<uint32_t>(config.engine.threads);
  needs.in_turns = config.run.max_staleness == 0;
  needs.learner_threads = static_cast<uint32_t>(config.trainer.threads);
  needs.checkpoints =
      config.run.checkpoint.keep_last + 1 + (config.run.checkpoint.keep_best ? 1 : 0);
  needs.ssh = config.cluster.topology == Topology::kSsh;
  const auto model = read_run_model(config);
  if (!model.ok()) return needs;  // each host says so itself
  needs.checkpoint_bytes = checkpoint_bytes(*model);
  for (const PlacedNode& node : placement.nodes) {
    const bool learner = node.name == kHeadName;
    needs.memory[node.name] = estimate_memory(config, *model, node.seats, learner).total();
  }
  return needs;
}

Result<std::vector<Finding>> examine(Config config, std::chrono::seconds limit) {
  if (config.launch.run_dir.empty()) config.launch.run_dir = default_run_dir();
  TW_TRY(check_training(config));
  LaunchHost here = launch_host();
  here.command = {"doctor", "--host-report"};
  TW_ASSIGN(const Placement placement, place(config, here));
  TW_TRY(check_weights(config, placement));
  if (lacks_allocation(config))
    return unsupported("topology slurm: start the doctor inside an allocation (salloc or sbatch)");
  std::vector<HostVisit> hosts = hosts_of(placement);
  DoctorSetup setup;
  setup.config = config_toml(config, false);
  setup.limit = limit;
  setup.on_wait = [](const std::vector<std::string>& waiting) {
    std::string text;
    for (const std::string& host : waiting) text += " " + host;
    std::fprintf(stderr, "still waiting for%s\n", text.c_str());
  };
  TW_TRY(visit(hosts, setup));
  return judge(hosts, needs_of(config, placement));
}

}  // namespace

int cmd_doctor(const Args& args) {
  CLI::App app(
      "Looks at every host of a cluster config, all at once: whether it can be reached, has the\n"
      "same build, free ports, memory, disk space, the model, the devices that are asked for, and\n"
      "finds the other hosts. Exit code 2 if anything fails. Starts nothing of the run.",
      "tracewise doctor");
  ConfigSource source;
  std::vector<std::filesystem::path> files;
  bool json = false, host_report = false;
  int seconds = 60;
  app.add_option("CONFIG", files, "TOML files; a later one overrides an earlier one")
      ->type_name("FILE");
  add_config_options(app, source);
  app.add_flag("--json", json, "as JSON");
  app.add_option("--timeout", seconds, "seconds for all hosts to report")
      ->check(CLI::Range(1, 500))
      ->capture_default_str();
  app.add_flag("--host-report", host_report)->group("");  // the doctor's process on a host
  if (const auto exit = parse_args(app, args)) return *exit;
  if (host_report) return report_host();

  source.files.insert(source.files.begin(), files.begin(), files.end());
  if (source.files.empty()) return fail(bad_input("doctor needs a CONFIG"));
  auto config = load_config(source);
  if (!config.ok()) return fail(config.error());
  const auto findings = examine(std::move(*config), std::chrono::seconds(seconds));
  if (!findings.ok()) return fail(findings.error());
  std::fputs((json ? findings_json(*findings) : findings_table(*findings)).c_str(), stdout);
  return has_failure(*findings) ? kExitBadInput : kExitDone;
}

}  // namespace tracewise
