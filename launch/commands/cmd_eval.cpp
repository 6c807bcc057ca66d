// tracewise eval: accuracy, pass@k and response length on prompt files.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "launch/commands/cli.hpp"
#include "launch/evaluate.hpp"
#include "launch/parts.hpp"
#include "launch/rollouts_file.hpp"
#include "launch/signals.hpp"
#include "model/file_io.hpp"

namespace tracewise {
namespace {

double share(auto part, auto whole) {
  return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

nlohmann::ordered_json json_of(const EvalFigures& f) {
  auto pass_at = nlohmann::ordered_json::array();
  for (const PassAt& pass : f.pass_at) {
    pass_at.push_back({{"k", pass.k},
                       {"value", pass.value},
                       {"ci", {pass.low, pass.high}},
                       {"prompts", pass.prompts}});
  }
  return {{"prompts", f.prompts},
          {"rollouts", f.rollouts},
          {"failures", f.failures},
          {"accuracy", f.accuracy},
          {"accuracy_ci", {f.accuracy_low, f.accuracy_high}},
          {"pass_at", std::move(pass_at)},
          {"tokens_mean", f.tokens_mean},
          {"steps_mean", f.steps_mean},
          {"truncated", f.truncated}};
}

std::string json_line(const Evaluation& evaluation, const Config& config,
                      const std::vector<EvalData>& data, bool probed) {
  const EvalResult& r = evaluation.result;
  const GroupStats& s = evaluation.stats;
  nlohmann::ordered_json line = {{"model", config.launch.model_dir}, {"seed", config.seed}};
  line.update(json_of(r));
  line["tokens_total"] = s.response_tokens;
  line["wall_s"] = r.wall_seconds;
  line["tokens_per_s"] = share(s.response_tokens, r.wall_seconds);
  if (probed) {
    line["probed_rollouts"] = s.probed_rollouts;
    line["solving_tokens_mean"] = share(s.solving_tokens, s.probed_rollouts);
    line["checking_tokens_mean"] = share(s.checking_tokens, s.probed_rollouts);
    line["right_to_wrong"] = share(s.right_to_wrong, s.value_steps);
    line["brier"] = share(s.brier_sum, s.values);
    line["probe_tokens"] = s.probe_tokens;
    line["probe_s"] = s.probe_seconds;
  }
  line["sets"] = nlohmann::ordered_json::array();
  for (size_t i = 0; i < data.size(); ++i) {
    nlohmann::ordered_json set = {{"name", data[i].set.name},
                                  {"data", data[i].file.string()},
                                  {"samples", data[i].set.samples}};
    set.update(json_of(r.sets[i]));
    line["sets"].push_back(std::move(set));
  }
  return line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

void print_figures(const EvalFigures& f, const std::string& samples) {
  std::printf("%-10s%.4f  [%.4f, %.4f]  %s, %lu rollouts of %lu prompts\n", "accuracy", f.accuracy,
              f.accuracy_low, f.accuracy_high, samples.c_str(), f.rollouts, f.prompts);
  for (const PassAt& pass : f.pass_at)
    std::printf("%-10s%.4f  [%.4f, %.4f]  pass@%u\n", "solved", pass.value, pass.low, pass.high,
                pass.k);
  std::printf("%-10s%.1f a response, %.1f %% of the responses cut off\n", "tokens", f.tokens_mean,
              100 * f.truncated);
  std::printf("%-10s%.2f a response\n", "steps", f.steps_mean);
}

void print_text(const Evaluation& evaluation, const Config& config,
                const std::vector<EvalData>& data, bool probed) {
  const EvalResult& r = evaluation.result;
  const GroupStats& s = evaluation.stats;
  std::printf("%-10s%s\n", "model", config.launch.model_dir.c_str());
  for (size_t i = 0; i < data.size(); ++i) {
    std::printf("%-10s%s: %s\n", "set", data[i].set.name.c_str(), data[i].file.c_str());
    print_figures(r.sets[i], "avg@" + std::to_string(data[i].set.samples));
  }
  if (data.size() > 1) {
    std::printf("%-10sof the %zu sets\n", "mean", data.size());
    print_figures(r, "each set weighs the same");
  }
  if (probed) {
    std::printf("%-10s%.1f solving and %.1f checking tokens a response\n", "values",
                share(s.solving_tokens, s.probed_rollouts),
                share(s.checking_tokens, s.probed_rollouts));
    std::printf("%-10s%.4f right-to-wrong steps, Brier score %.4f, %lu tokens of probes\n", "",
                share(s.right_to_wrong, s.value_steps), share(s.brier_sum, s.values),
                s.probe_tokens);
  }
  std::printf("%-10s%.1f s, %lu tokens, %.0f a second\n", "time", r.wall_seconds, s.response_tokens,
              share(s.response_tokens, r.wall_seconds));
}

// On a terminal one line that is written over.
void print_progress(const EvaluateProgress& p) {
  const bool terminal = ::isatty(STDERR_FILENO) != 0;
  char so_far[64] = "accuracy -  tokens -";
  if (!std::isnan(p.accuracy))
    std::snprintf(so_far, sizeof so_far, "accuracy %.3f  tokens %.1f", p.accuracy,
                  p.response_tokens);
  std::fprintf(
      stderr, "%s%lu/%lu prompts  %lu/%lu rollouts  %s  %.0f tok/s  time left %s%s",
      terminal ? "\r" : "", p.groups_done, p.groups, p.rollouts_done, p.rollouts, so_far,
      p.tokens_per_second,
      p.seconds_left < 0 ? "unknown" : (std::to_string(std::lround(p.seconds_left)) + " s").c_str(),
      terminal ? "\x1b[K" : "\n");
}

void end_progress(bool any) {
  if (any && ::isatty(STDERR_FILENO) != 0) std::fputs("\r\x1b[K", stderr);
}

struct Options {
  EvaluateOptions evaluate;
  std::vector<std::string> data;  // [NAME=]FILE
  std::filesystem::path out;
  bool json = false;
};

// Evaluates on the files of --data instead of the config's sets.
Result<void> take_data(Config& config, const std::vector<std::string>& data) {
  if (data.empty()) return {};
  config.eval_data.path.clear();
  config.eval_sets.clear();
  config.data_rows.eval = 0;
  config.run.eval.best_set.clear();
  for (const std::string& word : data) {
    const size_t equals = word.find('=');
    const bool named = equals != std::string::npos && is_set_name(word.substr(0, equals));
    const std::filesystem::path file = named ? word.substr(equals + 1) : word;
    if (file.filename().empty())
      return bad_input("--data " + word + ": it must be [NAME=]FILE, and the file is missing");
    EvalSetOptions& set = config.eval_sets.emplace_back();
    set.name = named ? word.substr(0, equals) : set_name(file);
    set.path = std::filesystem::absolute(file).lexically_normal().string();
  }
  return {};
}

Result<void> warn(const Evaluation& evaluation) {
  const EvalResult& r = evaluation.result;
  if (const std::string* set = unmeasured_set(r)) {
    return bad_input("all rollouts of the set " + *set +
                     " failed, the first one thus: " + evaluation.first_failure.message);
  }
  if (r.failures > 0) {
    std::fprintf(stderr, "tracewise: %lu of %lu rollouts failed and are left out, the first: %s\n",
                 r.failures, r.failures + r.rollouts, evaluation.first_failure.message.c_str());
  }
  if (evaluation.unprobed > 0) {
    std::fprintf(stderr, "tracewise: the values of %lu rollouts could not be probed\n",
                 evaluation.unprobed);
  }
  return {};
}

// Before the work whose result goes there.
Result<void> check_out(const std::filesystem::path& out, const Config& config) {
  if (out.empty()) return {};
  std::error_code ignored;  // of a file that is not there yet
  if (std::filesystem::is_directory(out, ignored))
    return bad_input("--out " + out.string() + " is a folder, not a file");
  std::vector<std::filesystem::path> prompts = {config.data.path, config.eval_data.path};
  for (const EvalSetOptions& set : config.eval_sets) prompts.emplace_back(set.path);
  for (const auto& file : prompts)
    if (std::filesystem::equivalent(out, file, ignored))
      return bad_input("--out " + out.string() + " would overwrite prompts");
  return check_writable(out);
}

Result<void> run(const Config& config, const Options& options, const std::stop_token& stop) {
  TW_TRY(check_out(options.out, config));
  TW_ASSIGN(const ModelFolder model, load_model(config));
  TW_ASSIGN(const std::vector<EvalData> data, load_eval_data(config, model));
  for (const std::string& line : notes(data)) std::fprintf(stderr, "tracewise: %s\n", line.c_str());
  bool progress = false;
  const auto evaluation = evaluate(config, model, eval_sets(data), options.evaluate, stop,
                                   [&](const EvaluateProgress& p) {
                                     progress = true;
                                     print_progress(p);
                                   });
  end_progress(progress);
  if (!evaluation.ok()) return evaluation.error();
  // First: also of rollouts that failed one wants to know how.
  if (!options.out.empty()) {
    TW_TRY(save_rollouts(options.out, evaluation->result, evaluation->rollouts,
                         evaluation->advantages, *model.tokenizer));
  }
  TW_TRY(warn(*evaluation));
  if (options.json) {
    std::puts(json_line(*evaluation, config, data, options.evaluate.probe).c_str());
  } else {
    print_text(*evaluation, config, data, options.evaluate.probe);
  }
  return flush_output();
}

}  // namespace

int cmd_eval(const Args& args) {
  CLI::App app(
      "Samples responses to the prompts of files and measures them (keys: eval.*, verifier.*, "
      "steps.*, engine.*, run.generators). Intervals are of 95 %, over the prompts.",
      "tracewise eval");
  ConfigSource source;
  Options options;
  add_config_options(app, source);
  add_key_option(app, source, "--model", "model.dir", "DIR", "Hugging Face folder");
  add_key_option(app, source, "--adapter", "lora.adapter", "DIR",
                 "adapter (PEFT folder) that is added to the model");
  app.add_option("--data", options.data,
                 "prompts, JSON lines or Parquet, instead of the config's; several: each a set, "
                 "named or after its file")
      ->type_name("[NAME=]FILE")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  add_key_option(app, source, "--samples", "eval.samples", "K", "rollouts of each prompt");
  add_key_option(app, source, "--seed", "run.seed", "N", "of the sampling");
  app.add_flag("--probe", options.evaluate.probe,
               "probe the states' values (keys: probe.*) and measure solving and checking tokens");
  app.add_option("--out", options.out,
                 "write the rollouts here, JSON lines that trace --rollouts and report read")
      ->type_name("FILE");
  app.add_flag("--json", options.json, "one line of JSON on standard output");
  if (const auto exit = parse_args(app, args)) return *exit;

  auto config = load_config(source);
  if (!config.ok()) return fail(config.error());
  if (const auto taken = take_data(*config, options.data); !taken.ok()) return fail(taken.error());
  options.evaluate.keep_rollouts = !options.out.empty();
  const std::stop_token stop = stop_on_signals();
  const auto result = run(*config, options, stop);
  return result.ok() ? kExitDone : fail(result.error());
}

}  // namespace tracewise
