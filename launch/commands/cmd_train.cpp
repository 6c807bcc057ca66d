// tracewise train: a run of the actors, new or resumed.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <thread>

#include "launch/commands/cli.hpp"
#include "launch/commands/summary.hpp"
#include "launch/memory_estimate.hpp"
#include "launch/parts.hpp"
#include "launch/signals.hpp"
#include "launch/text_table.hpp"
#include "launch/training.hpp"

namespace tracewise {

namespace {

struct Plan {
  ModelConfig model;
  size_t prompts = 0, eval_prompts = 0;
  size_t longest_prompt = 0;  // tokens
  MemoryEstimate memory;
};

// What a run would do with its input, which is checked as the run would check it.
Result<Plan> make_plan(const Config& config) {
  TW_TRY(check_training(config));
  TW_ASSIGN(const ModelFolder model, load_model(config));
  TW_ASSIGN(const RunData data, load_run_data(config, model));
  for (const std::string& line : notes(config, data))
    std::fprintf(stderr, "tracewise: %s\n", line.c_str());
  Plan plan;
  plan.model = model.config;
  const auto add = [&](const std::vector<Prompt>& prompts) {
    for (const Prompt& prompt : prompts)
      plan.longest_prompt = std::max(plan.longest_prompt, prompt.tokens.size());
    return prompts.size();
  };
  plan.prompts = add(data.train.prompts);
  for (const EvalData& eval : data.eval) plan.eval_prompts += add(eval.set.prompts);
  plan.memory = estimate_training(config, model.config, static_cast<int64_t>(plan.longest_prompt));
  return plan;
}

void print(const Plan& plan, bool json) {
  const MemoryEstimate& m = plan.memory;
  if (json) {
    const nlohmann::ordered_json line = {{"prompts", plan.prompts},
                                         {"eval_prompts", plan.eval_prompts},
                                         {"longest_prompt", plan.longest_prompt},
                                         {"memory",
                                          {{"weights", m.weights},
                                           {"kv_cache", m.kv_cache},
                                           {"optimizer", m.optimizer},
                                           {"activations", m.activations},
                                           {"program", m.program},
                                           {"total", m.total()}}}};
    std::printf("%s\n", line.dump().c_str());
    return;
  }
  std::printf("%-13s%zu, %zu for evaluation, the longest of %zu tokens\n", "prompts", plan.prompts,
              plan.eval_prompts, plan.longest_prompt);
  const std::vector<std::pair<const char*, int64_t>> parts = {
      {"weights", m.weights},         {"kv cache", m.kv_cache}, {"learner", m.optimizer},
      {"activations", m.activations}, {"program", m.program},   {"in all", m.total()}};
  for (const auto& [name, bytes] : parts)
    std::printf("%-13s%10s\n", name, bytes_text(bytes).c_str());
}

int dry_run(const ConfigSource& source, bool json) {
  const auto config = load_config(source);
  if (!config.ok()) return fail(config.error());
  const auto plan = make_plan(*config);
  if (!plan.ok()) return fail(plan.error());
  print(*plan, json);
  const auto flushed = flush_output();
  return flushed.ok() ? kExitDone : fail(flushed.error());
}

}  // namespace

int cmd_train(const Args& args) {
  CLI::App app("Trains a model on prompts (keys: run.*, model.*, data.*, advantage.*, ...).",
               "tracewise train");
  ConfigSource source;
  std::filesystem::path resume;
  add_config_options(app, source);
  app.add_option("--resume", resume, "run folder to go on with, by its own config")
      ->type_name("RUN");
  bool dry = false, json = false;
  auto* dry_option = app.add_flag(
      "--dry-run", dry, "check model and data, say how much memory a run takes, start nothing");
  app.add_flag("--json", json, "with --dry-run: as one JSON object")->needs(dry_option);
  dry_option->excludes("--resume");
  if (const auto exit = parse_args(app, args)) return *exit;
  if (dry) return dry_run(source, json);
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
