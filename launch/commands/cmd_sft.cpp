// tracewise sft: the supervised warm start.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "launch/commands/cli.hpp"
#include "launch/signals.hpp"
#include "launch/supervised.hpp"

namespace tracewise {

int cmd_sft(const Args& args) {
  CLI::App app(
      "Trains a model on prompts with their responses (keys: sft.*, model.*, optimizer.*).",
      "tracewise sft");
  ConfigSource source;
  add_config_options(app, source);
  if (const auto exit = parse_args(app, args)) return *exit;
  const auto config = load_config(source);
  if (!config.ok()) return fail(config.error());

  const std::stop_token stop = stop_on_signals();
  const auto summary = train_supervised(*config, stop, [](const SupervisedProgress& p) {
    std::printf("step %ld/%ld  loss %.4f  %.0f tok/s  time left %.0f s\n", p.step, p.steps, p.loss,
                p.tokens_per_second, p.seconds_left);
    std::fflush(stdout);
  });
  if (!summary.ok()) return fail(summary.error());
  if (summary->stopped) return kExitInterrupted;
  std::printf("wrote %s after %.1f s\n", config->sft.out_dir.c_str(), summary->seconds);
  return kExitDone;
}

}  // namespace tracewise
