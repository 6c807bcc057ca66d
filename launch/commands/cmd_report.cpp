// tracewise report: runs as one HTML page.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "launch/commands/cli.hpp"
#include "launch/report/run_report.hpp"

namespace tracewise {

int cmd_report(const Args& args) {
  CLI::App app("Writes learning curves, figures and rollouts of runs as one HTML page.",
               "tracewise report");
  std::vector<std::filesystem::path> runs;
  std::filesystem::path out = "report.html";
  app.add_option("runs", runs, "run folders, and files of rollouts (eval --out)")
      ->required()
      ->type_name("RUN...");
  app.add_option("--out", out, "file to write")->capture_default_str()->type_name("FILE");
  if (const auto exit = parse_args(app, args)) return *exit;

  const auto report = report_runs(runs);
  if (!report.ok()) return fail(report.error());
  if (auto written = write_report(out, *report); !written.ok()) return fail(written.error());
  std::printf("wrote %s\n", out.c_str());
  return kExitDone;
}

}  // namespace tracewise
