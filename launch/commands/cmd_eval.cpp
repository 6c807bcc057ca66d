// tracewise eval: accuracy, pass@k and response length on a prompt file.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "launch/commands/cli.hpp"
#include "launch/evaluate.hpp"
#include "launch/parts.hpp"
#include "launch/signals.hpp"

namespace tracewise {
namespace {

// Wilson's interval of pass@k, over the prompts.
std::pair<double, double> pass_interval(const EvalResult& r) {
  const auto n = static_cast<double>(r.prompts);
  return wilson_interval(r.pass_at_k * n, n);
}

double share(auto part, auto whole) {
  return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

std::string json_line(const Evaluation& evaluation, const Config& config, bool probed) {
  const EvalResult& r = evaluation.result;
  const GroupStats& s = evaluation.stats;
  const auto [pass_low, pass_high] = pass_interval(r);
  nlohmann::ordered_json line = {{"model", config.launch.model_dir},
                                 {"data", config.eval_data.path.string()},
                                 {"seed", config.seed},
                                 {"prompts", r.prompts},
                                 {"k", config.run.eval.samples},
                                 {"rollouts", r.rollouts},
                                 {"failures", r.failures},
                                 {"accuracy", r.accuracy},
                                 {"accuracy_ci", {r.accuracy_low, r.accuracy_high}},
                                 {"pass_at_k", r.pass_at_k},
                                 {"pass_at_k_ci", {pass_low, pass_high}},
                                 {"tokens_total", s.response_tokens},
                                 {"tokens_mean", r.tokens_mean},
                                 {"steps_mean", r.steps_mean},
                                 {"truncated", r.truncated},
                                 {"wall_s", r.wall_seconds},
                                 {"tokens_per_s", share(s.response_tokens, r.wall_seconds)}};
  if (probed) {
    line["probed_rollouts"] = s.probed_rollouts;
    line["solving_tokens_mean"] = share(s.solving_tokens, s.probed_rollouts);
    line["checking_tokens_mean"] = share(s.checking_tokens, s.probed_rollouts);
    line["right_to_wrong"] = share(s.right_to_wrong, s.value_steps);
    line["brier"] = share(s.brier_sum, s.values);
    line["probe_tokens"] = s.probe_tokens;
    line["probe_s"] = s.probe_seconds;
  }
  return line.dump();
}

void print_text(const Evaluation& evaluation, const Config& config, bool probed) {
  const EvalResult& r = evaluation.result;
  const GroupStats& s = evaluation.stats;
  const auto [pass_low, pass_high] = pass_interval(r);
  const unsigned k = config.run.eval.samples;
  std::printf("%-10s%s\n", "model", config.launch.model_dir.c_str());
  std::printf("%-10s%s: %lu, %u samples each\n", "prompts", config.eval_data.path.c_str(),
              r.prompts, k);
  std::printf("%-10s%.4f  [%.4f, %.4f]  avg@%u, %lu rollouts\n", "accuracy", r.accuracy,
              r.accuracy_low, r.accuracy_high, k, r.rollouts);
  std::printf("%-10s%.4f  [%.4f, %.4f]  pass@%u\n", "solved", r.pass_at_k, pass_low, pass_high, k);
  std::printf("%-10s%.1f a response, %lu in all, %.1f %% of the responses cut off\n", "tokens",
              r.tokens_mean, s.response_tokens, 100 * r.truncated);
  std::printf("%-10s%.2f a response\n", "steps", r.steps_mean);
  if (probed) {
    std::printf("%-10s%.1f solving and %.1f checking tokens a response\n", "values",
                share(s.solving_tokens, s.probed_rollouts),
                share(s.checking_tokens, s.probed_rollouts));
    std::printf("%-10s%.4f right-to-wrong steps, Brier score %.4f, %lu tokens of probes\n", "",
                share(s.right_to_wrong, s.value_steps), share(s.brier_sum, s.values),
                s.probe_tokens);
  }
  std::printf("%-10s%.1f s, %.0f tokens/s\n", "time", r.wall_seconds,
              share(s.response_tokens, r.wall_seconds));
}

// On a terminal one line that is written over.
void print_progress(const EvaluateProgress& p) {
  const bool terminal = ::isatty(STDERR_FILENO) != 0;
  std::fprintf(
      stderr, "%s%lu/%lu prompts  accuracy %.3f  tokens %.1f  %.0f tok/s  time left %s%s",
      terminal ? "\r" : "", p.groups_done, p.groups, p.accuracy, p.response_tokens,
      p.tokens_per_second,
      p.seconds_left < 0 ? "unknown" : (std::to_string(std::lround(p.seconds_left)) + " s").c_str(),
      terminal ? "\x1b[K" : "\n");
}

void end_progress(bool any) {
  if (any && ::isatty(STDERR_FILENO) != 0) std::fputs("\r\x1b[K", stderr);
}

struct Options {
  EvaluateOptions evaluate;
  bool json = false;
};

Result<void> run(const Config& config, const Options& options, const std::stop_token& stop) {
  TW_ASSIGN(const ModelFolder model, load_model(config));
  TW_ASSIGN(const auto prompts, load_eval_prompts(config, model));
  bool progress = false;
  const auto evaluation =
      evaluate(config, model, prompts, options.evaluate, stop, [&](const EvaluateProgress& p) {
        progress = true;
        print_progress(p);
      });
  end_progress(progress);
  if (!evaluation.ok()) return evaluation.error();
  const EvalResult& r = evaluation->result;
  if (r.rollouts == 0) {
    return bad_input("all " + std::to_string(r.failures) +
                     " rollouts failed, the first one thus: " + evaluation->first_failure.message);
  }
  if (r.failures > 0) {
    std::fprintf(stderr, "tracewise: %lu of %lu rollouts failed and are left out, the first: %s\n",
                 r.failures, r.failures + r.rollouts, evaluation->first_failure.message.c_str());
  }
  if (evaluation->unprobed > 0) {
    std::fprintf(stderr, "tracewise: the values of %lu rollouts could not be probed\n",
                 evaluation->unprobed);
  }
  if (options.json) {
    std::puts(json_line(*evaluation, config, options.evaluate.probe).c_str());
  } else {
    print_text(*evaluation, config, options.evaluate.probe);
  }
  return flush_output();
}

}  // namespace

int cmd_eval(const Args& args) {
  CLI::App app(
      "Samples responses to the prompts of a file and measures them (keys: eval.*, verifier.*, "
      "steps.*, engine.*, run.generators). Intervals are Wilson's, 95 %: of accuracy over the "
      "rollouts, of pass@k over the prompts.",
      "tracewise eval");
  ConfigSource source;
  Options options;
  add_config_options(app, source);
  add_key_option(app, source, "--model", "model.dir", "DIR", "Hugging Face folder");
  add_key_option(app, source, "--adapter", "lora.adapter", "DIR",
                 "adapter (PEFT folder) that is added to the model");
  add_key_option(app, source, "--data", "data.eval_prompts", "FILE", "prompts, JSON lines");
  add_key_option(app, source, "--samples", "eval.samples", "K", "rollouts of each prompt");
  add_key_option(app, source, "--seed", "run.seed", "N", "of the sampling");
  app.add_flag("--probe", options.evaluate.probe,
               "probe the states' values (keys: probe.*) and measure solving and checking tokens");
  app.add_flag("--json", options.json, "one line of JSON on standard output");
  if (const auto exit = parse_args(app, args)) return *exit;

  const auto config = load_config(source);
  if (!config.ok()) return fail(config.error());
  const std::stop_token stop = stop_on_signals();
  const auto result = run(*config, options, stop);
  return result.ok() ? kExitDone : fail(result.error());
}

}  // namespace tracewise
