// tracewise trace: the steps of rollouts, each with value, gain and advantage.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <map>

#include "launch/commands/cli.hpp"
#include "launch/parts.hpp"
#include "launch/rollouts_file.hpp"
#include "launch/signals.hpp"
#include "launch/trace_view.hpp"
#include "launch/tracing.hpp"

namespace tracewise {
namespace {

struct Options {
  std::optional<std::string> prompt;
  std::optional<std::string> answer;
  std::string completions;  // file
  std::string rollouts;     // file
  int64_t row = 0;          // from 1; 0: not given
  uint32_t samples = 0;     // 0: run.group_size
  uint32_t sample = 0;      // which of them to show
  bool all = false;         // show all of them
  bool json = false;
  std::string colour = "auto";
};

bool in_colour(const std::string& when) {
  if (when != "auto") return when == "always";
  const char* no_colour = std::getenv("NO_COLOR");
  return ::isatty(STDOUT_FILENO) != 0 && (no_colour == nullptr || *no_colour == '\0');
}

class Printer {
 public:
  explicit Printer(const Options& options)
      : json_(options.json), colour_(in_colour(options.colour)) {}

  void print(const TracedGroup& group, size_t i, const Tokenizer& tokenizer) {
    print(make_view(group.rollouts[i], group.advantages[i], group.rewarded, tokenizer));
  }

  void print(const RolloutView& view) {
    if (json_) {
      std::puts(view_json(view).c_str());
      return;
    }
    if (std::exchange(printed_, true)) std::putchar('\n');
    std::fputs(view_text(view, colour_).c_str(), stdout);
  }

 private:
  bool json_, colour_;
  bool printed_ = false;
};

Result<Prompt> prompt_of(const Options& options, const Config& config, const ModelFolder& model) {
  if (!options.prompt) {
    if (config.data.path.empty() || options.row == 0) {
      return bad_input(
          "trace: a prompt is needed: --prompt TEXT, --row N of --data FILE, or --completions "
          "FILE");
    }
    DatasetOptions data = config.data;
    data.require_answer = config.probe.mode != ProbeMode::kVerbal;
    TW_ASSIGN(auto prompts, load_prompts(data, model));
    if (options.row > static_cast<int64_t>(prompts.size())) {
      return bad_input("--row " + std::to_string(options.row) + ": " + data.path.string() +
                       " has " + std::to_string(prompts.size()) + " rows");
    }
    return std::move(prompts[options.row - 1]);
  }
  Prompt prompt;
  prompt.id = "--prompt";
  prompt.gold = options.answer.value_or("");
  if (prompt.gold.empty() && config.probe.mode != ProbeMode::kVerbal)
    return bad_input("--answer is needed beside --prompt: probe.mode verbal alone does without");
  TW_ASSIGN(prompt.tokens, model.tokenizer->encode(*options.prompt, true));
  TW_ASSIGN(prompt.gold_tokens, model.tokenizer->encode(prompt.gold, false));
  return prompt;
}

Result<void> trace_prompt(const Options& options, const Config& config, const ModelFolder& model,
                          const std::stop_token& stop) {
  const uint32_t samples = options.samples > 0 ? options.samples : config.run.group_size;
  if (options.sample >= samples) {
    return bad_input("--sample " + std::to_string(options.sample) +
                     ": the group's samples are 0 to " + std::to_string(samples - 1));
  }
  TW_ASSIGN(const Prompt prompt, prompt_of(options, config, model));
  TW_ASSIGN(const auto tracer, GroupTracer::make(config, model));
  TW_ASSIGN(TracedGroup group, tracer->sample(prompt, samples, stop));
  const bool any = std::ranges::any_of(group.rollouts, [](const TracedRollout& t) {
    return !t.rollout.failure.failed() || t.rollout.failure.failure_class == FailureClass::kProbe;
  });
  if (!any) return bad_input(group.rollouts.front().rollout.failure.message);
  finish_groups({&group, 1}, config.group.advantage);
  Printer printer(options);
  for (uint32_t i = 0; i < samples; ++i)
    if (options.all || i == options.sample) printer.print(group, i, *model.tokenizer);
  if (!options.json && group.rewarded && !group.trained) {
    std::puts(
        "\nThe group's rewards are all equal: training leaves it out "
        "(advantage.uniform_groups).");
  }
  return flush_output();
}

// Rows of one prompt and answer are a group, in the order of the file.
Result<void> trace_completions(const Options& options, const Config& config,
                               const ModelFolder& model, const std::stop_token& stop) {
  TW_ASSIGN(const auto rows, load_completions(options.completions, config, model));
  if (options.row > static_cast<int64_t>(rows.size())) {
    return bad_input("--row " + std::to_string(options.row) + ": " + options.completions + " has " +
                     std::to_string(rows.size()) + " rows");
  }
  TW_ASSIGN(const auto tracer, GroupTracer::make(config, model));
  std::map<std::pair<std::vector<int32_t>, std::string>, size_t> group_of;
  std::vector<std::vector<Completion>> members;
  std::vector<std::pair<size_t, size_t>> places;  // [rows] group, sample
  for (const Completion& row : rows) {
    const auto [place, fresh] =
        group_of.try_emplace({row.prompt.tokens, row.prompt.gold}, members.size());
    if (fresh) members.emplace_back();
    places.emplace_back(place->second, members[place->second].size());
    members[place->second].push_back(row);
  }
  std::vector<TracedGroup> groups(members.size());
  const size_t only = options.row > 0 ? places[options.row - 1].first : members.size();
  auto reported = Clock::now();
  for (size_t g = 0; g < members.size(); ++g) {
    // An advantage that is whitened over the batch needs all groups.
    if (only < members.size() && g != only && !config.group.advantage.whitens_batch()) continue;
    TW_ASSIGN(groups[g], tracer->adopt(members[g], g, stop));
    const std::chrono::duration<double> silent = Clock::now() - reported;
    if (config.run.progress_seconds > 0 && silent.count() >= config.run.progress_seconds) {
      std::fprintf(stderr, "traced %zu/%zu prompts\n", g + 1, members.size());
      reported = Clock::now();
    }
  }
  finish_groups(groups, config.group.advantage);
  Printer printer(options);
  for (size_t r = 0; r < rows.size(); ++r) {
    if (options.row > 0 && r + 1 != static_cast<size_t>(options.row)) continue;
    printer.print(groups[places[r].first], places[r].second, *model.tokenizer);
  }
  return flush_output();
}

// Rollouts of an evaluation, without a model.
Result<void> trace_rollouts(const Options& options) {
  TW_ASSIGN(const auto stored, load_rollouts(options.rollouts));
  if (options.row > static_cast<int64_t>(stored.size())) {
    return bad_input("--row " + std::to_string(options.row) + ": " + options.rollouts + " has " +
                     std::to_string(stored.size()) + " rollouts");
  }
  Printer printer(options);
  for (size_t r = 0; r < stored.size(); ++r)
    if (options.row == 0 || r + 1 == static_cast<size_t>(options.row)) printer.print(stored[r]);
  return flush_output();
}

}  // namespace

int cmd_trace(const Args& args) {
  CLI::App app(
      "Prints the steps of a rollout, each with the value V_k of the state after it, its gain "
      "V_k - V_{k-1} (V_K is the reward) and its advantage in its group. The model samples the "
      "group for a prompt, or the completions of a file are traced as they are; rows with one "
      "prompt are a group (keys: probe.*, steps.*, verifier.*, advantage.*, sampling.*).",
      "tracewise trace");
  ConfigSource source;
  Options options;
  add_config_options(app, source);
  add_key_option(app, source, "--model", "model.dir", "DIR", "Hugging Face folder");
  add_key_option(app, source, "--adapter", "lora.adapter", "DIR",
                 "adapter (PEFT folder) that is added to the model");
  add_key_option(app, source, "--data", "data.prompts", "FILE", "prompts, JSON lines");
  add_key_option(app, source, "--seed", "run.seed", "N", "of the sampling");
  auto* prompt =
      app.add_option("--prompt", options.prompt, "text of the prompt")->type_name("TEXT");
  app.add_option("--answer", options.answer, "gold answer to --prompt")
      ->type_name("TEXT")
      ->needs(prompt);
  auto* completions =
      app.add_option("--completions", options.completions,
                     "JSON lines {\"prompt\", \"response\", \"answer\"} to trace as they are")
          ->type_name("FILE")
          ->excludes(prompt);
  auto* rollouts = app.add_option("--rollouts", options.rollouts,
                                  "rollouts of an evaluation to show, of eval --out or a run's "
                                  "evals/; needs no model")
                       ->type_name("FILE")
                       ->excludes(prompt)
                       ->excludes(completions);
  app.add_option("--row", options.row, "row of the file, from 1")
      ->check(CLI::PositiveNumber.description(""))
      ->type_name("N")
      ->excludes(prompt);
  app.add_option("--samples", options.samples, "size of the group (default: run.group_size)")
      ->check(CLI::Range(1, 65536).description(""))
      ->type_name("G")
      ->excludes(completions)
      ->excludes(rollouts);
  app.add_option("--sample", options.sample, "which of the group to print, from 0")
      ->type_name("I")
      ->excludes(completions)
      ->excludes(rollouts);
  app.add_flag("--all", options.all, "print the whole group")
      ->excludes(completions)
      ->excludes(rollouts);
  app.add_option("--color", options.colour, "auto (default), always or never")
      ->check(CLI::IsMember({"auto", "always", "never"}).description(""))
      ->type_name("WHEN");
  app.add_flag("--json", options.json, "a line of JSON for each rollout");
  if (const auto exit = parse_args(app, args)) return *exit;

  if (!options.rollouts.empty()) {
    const auto shown = trace_rollouts(options);
    return shown.ok() ? kExitDone : fail(shown.error());
  }
  const auto config = load_config(source);
  if (!config.ok()) return fail(config.error());
  const auto model = load_model(*config);
  if (!model.ok()) return fail(model.error());
  const std::stop_token stop = stop_on_signals();
  const auto result = options.completions.empty()
                          ? trace_prompt(options, *config, *model, stop)
                          : trace_completions(options, *config, *model, stop);
  return result.ok() ? kExitDone : fail(result.error());
}

}  // namespace tracewise
