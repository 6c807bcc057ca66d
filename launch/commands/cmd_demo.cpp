// tracewise demo: GRPO and SSPO side by side on a task made up for it.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "launch/commands/cli.hpp"
#include "launch/demo/demo.hpp"
#include "launch/signals.hpp"
#include "model/file_io.hpp"

namespace tracewise {

int cmd_demo(const Args& args) {
  CLI::App app(
      "Warms a tiny model up on reasoning traces, trains it by GRPO and by SSPO from the same "
      "start "
      "for the same time, and compares them. Exit code 3 if SSPO is not shorter at GRPO's "
      "accuracy.",
      "tracewise demo");
  demo::DemoOptions options;
  std::filesystem::path json;
  app.add_option("--task", options.task, "last-digit or jump")->capture_default_str();
  app.add_option("--seed", options.seed, "of everything random")->capture_default_str();
  app.add_option("--out", options.out,
                 "folder for data, runs and report.html; an earlier demo there is replaced")
      ->type_name("DIR");
  app.add_option("--json", json, "also write the result here")->type_name("FILE");
  app.add_flag("--quick", options.quick, "shorter runs, smaller claims");
  app.add_flag("--all", options.all,
               "with the controls: length penalty, shuffled V, lambda, gamma");
  app.add_option("--method", options.methods, "only these, e.g. sspo or shuffled; repeatable")
      ->type_name("KEY")
      ->allow_extra_args(false);
  app.add_option("--set", options.sets, "one config key of every method's run; repeatable")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false);
  app.add_option("--budget", options.budget_seconds, "training seconds of each method");
  app.add_option("--warm-start-steps", options.warm_start_steps,
                 "optimizer steps of the warm start");
  app.add_option("--start", options.start, "a warm start made before")->type_name("DIR");
  if (const auto exit = parse_args(app, args)) return *exit;

  if (!json.empty()) {
    if (const auto possible = check_writable(json); !possible.ok()) return fail(possible.error());
  }
  const auto result = demo::run_demo(options, stop_on_signals());
  if (!result.ok()) return fail(result.error());
  std::printf("\n%s\n", demo::result_table(*result).c_str());
  bool shown = true;
  for (const demo::Claim& claim : demo::check_claims(*result)) {
    std::printf("%s: %s\n", claim.holds ? "shown" : "NOT shown", claim.text.c_str());
    shown = shown && claim.holds;
  }
  std::printf("report: %s\n", (result->options.out / "report.html").c_str());
  if (!json.empty()) {
    if (auto written = write_file(json, demo::result_json(*result)); !written.ok())
      return fail(written.error());
  }
  return shown ? kExitDone : kExitGoalNotReached;
}

}  // namespace tracewise
