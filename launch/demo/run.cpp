// The demo from files to outcomes.
#include <algorithm>
#include <chrono>
#include <cstdio>

#include "actors/run_folder.hpp"
#include "launch/demo/demo.hpp"
#include "launch/parts.hpp"
#include "launch/report/rollout_view.hpp"
#include "launch/supervised.hpp"
#include "launch/training.hpp"
#include "model/file_io.hpp"

namespace tracewise::demo {
namespace {

using std::chrono::steady_clock;

double seconds_since(steady_clock::time_point start) {
  return std::chrono::duration<double>(steady_clock::now() - start).count();
}

std::filesystem::path preset(const std::string& name) {
  return std::filesystem::path(TRACEWISE_CONFIGS) / name;
}

void say(const std::string& line) {
  std::printf("%s\n", line.c_str());
  std::fflush(stdout);
}

// Sizes that --quick halves or so.
struct Lengths {
  int64_t sft_steps;
  double budget_seconds;
};

Lengths lengths(const DemoOptions& options) {
  const bool jump = options.task == "jump";
  Lengths normal = jump ? Lengths{3000, 40} : Lengths{2200, 70};
  if (options.quick) normal = {jump ? 1500 : 1400, 22};
  if (options.warm_start_steps > 0) normal.sft_steps = options.warm_start_steps;
  if (options.budget_seconds > 0) normal.budget_seconds = options.budget_seconds;
  return normal;
}

class Demo {
 public:
  Demo(DemoOptions options, std::stop_token stop) : stop_(std::move(stop)) {
    result_.options = std::move(options);
    DemoOptions& o = result_.options;
    if (o.out.empty()) o.out = "runs/demo-" + o.task + "-" + std::to_string(o.seed);
    o.out = std::filesystem::absolute(o.out);
  }

  Result<DemoResult> run() {
    const auto start = steady_clock::now();
    const DemoOptions& o = result_.options;
    TW_ASSIGN(const auto task, make_task(o.task));
    start_ = o.start.empty() ? o.out / "start" : std::filesystem::absolute(o.start);
    files_ = task_files(o.out / "data");
    TW_ASSIGN(const auto runs, planned_runs());
    for (const auto& [method, config] : runs) TW_TRY(RunFolder::remove(config.launch.run_dir));
    TaskSizes sizes;
    TW_ASSIGN(files_, write_task_files(*task, o.out / "data", o.seed, sizes));
    say("wrote " + std::to_string(sizes.corpus) + " traces and " + std::to_string(sizes.prompts) +
        " prompts of task " + o.task + " to " + (o.out / "data").string());
    TW_TRY(warm_start());
    for (const auto& [method, config] : runs) TW_TRY(train(method, config));
    TW_TRY(collect_rollouts());
    result_.wall_seconds = seconds_since(start);
    TW_TRY(write_report(o.out / "report.html", result_report(result_)));
    TW_TRY(write_file(o.out / "result.json", result_json(result_)));
    return std::move(result_);
  }

 private:
  // The methods that were asked for with their configs: what is wrong with either is found before
  // anything is trained.
  Result<std::vector<std::pair<Method, Config>>> planned_runs() {
    const DemoOptions& o = result_.options;
    TW_ASSIGN(const auto methods, choose_methods(methods_of(o.task), o.methods, o.all));
    std::vector<std::pair<Method, Config>> runs;
    for (const Method& method : methods) {
      std::vector<std::string> sets = common_sets(method.key);
      sets.insert(sets.end(), method.sets.begin(), method.sets.end());
      sets.insert(sets.end(), o.sets.begin(), o.sets.end());
      // The demo's over the preset's: methods differ in their advantages, not in loss or clipping.
      TW_ASSIGN(Config c, config({method.preset, "demo.toml"}, std::move(sets)));
      TW_TRY(check_training(c));
      runs.emplace_back(method, std::move(c));
    }
    return runs;
  }

  std::string set(const std::string& key, const std::filesystem::path& path) const {
    return key + "=" + path.string();
  }

  Result<Config> config(const std::vector<std::string>& presets,
                        std::vector<std::string> sets) const {
    ConfigSource source;
    for (const std::string& name : presets) source.files.push_back(preset(name));
    source.sets = std::move(sets);
    source.sets.push_back("run.seed=" + std::to_string(result_.options.seed));
    return load_config(source);
  }

  Result<void> warm_start() {
    const DemoOptions& o = result_.options;
    Outcome outcome;
    outcome.key = "sft";
    outcome.title = "warm start (SFT)";
    outcome.model = start_;
    if (o.start.empty()) {
      std::vector<std::string> presets = {"sft.toml"};
      if (o.task == "jump") presets.push_back("sft_jump.toml");
      TW_ASSIGN(const Config c,
                config(presets, {set("model.dir", files_.model), set("sft.data", files_.corpus),
                                 set("sft.out", outcome.model),
                                 "sft.steps=" + std::to_string(lengths(o).sft_steps)}));
      TW_ASSIGN(const auto summary, train_supervised(c, stop_, [](const SupervisedProgress& p) {
                  if (p.step % 100 < 25 || p.step == p.steps)
                    std::printf(
                        "warm start  step %ld/%ld  loss %.3f  %.0f tok/s  time left %.0f s\n",
                        p.step, p.steps, p.loss, p.tokens_per_second, p.seconds_left);
                  std::fflush(stdout);
                }));
      if (summary.stopped) return cancelled();
      outcome.wall_seconds = summary.seconds;
      outcome.train_steps = static_cast<uint64_t>(c.sft.steps);
      outcome.samples_per_second = static_cast<double>(c.sft.steps) *
                                   static_cast<double>(c.sft.batch_size) / summary.seconds;
    }
    TW_TRY(measure_final(outcome));
    result_.outcomes.push_back(std::move(outcome));
    return {};
  }

  // The config of a method's run, without what the method itself sets.
  std::vector<std::string> common_sets(const std::string& key) const {
    const double budget = lengths(result_.options).budget_seconds;
    const double early = std::min(0.5, budget / 16);  // the last one before the time is over
    std::string points = "[";
    for (int i = 1; i <= 4; ++i)
      points += (i > 1 ? ", " : "") + std::to_string(budget * i / 4 - early);
    return {set("model.dir", start_),
            set("data.prompts", files_.prompts),
            set("data.eval_prompts", files_.curve),
            set("run.dir", result_.options.out / key),
            "run.budget_seconds=" + std::to_string(budget),
            "eval.at_seconds=" + points + "]"};
  }

  Result<void> train(const Method& method, const Config& c) {
    TW_ASSIGN(const RunSummary summary, start_training(
                                            c, stop_,
                                            [&](const Progress& progress) {
                                              say(method.title + "  " + progress_line(progress));
                                            },
                                            nullptr));
    if (summary.interrupted) return cancelled();
    Outcome outcome;
    outcome.key = method.key;
    outcome.title = method.title;
    outcome.model = std::filesystem::path(summary.checkpoint) / "model";
    for (const EvalResult& e : summary.evals)
      outcome.curve.push_back({e.train_seconds, e.accuracy, e.tokens_mean});
    outcome.wall_seconds = summary.train_seconds;
    outcome.train_steps = summary.step;
    outcome.probe_share = summary.probe_seconds / (summary.train_seconds * c.run.generators);
    outcome.samples_per_second = static_cast<double>(summary.rollouts) / summary.train_seconds;
    TW_TRY(measure_final(outcome));
    result_.outcomes.push_back(std::move(outcome));
    return {};
  }

  // Accuracy, tokens and values on the final prompts.
  Result<void> measure_final(Outcome& outcome) const {
    TW_ASSIGN(outcome.final, evaluate_on(outcome.model, files_.final, 0));
    const EvalResult& r = outcome.final.result;
    char line[160];
    std::snprintf(
        line, sizeof line, "%s: accuracy %.3f, %.1f tokens a response on %lu fresh prompts",
        outcome.title.c_str(), r.accuracy, r.tokens_mean, static_cast<unsigned long>(r.prompts));
    say(line);
    return {};
  }

  // The first `limit` prompts of a file (0: all), values probed.
  Result<Evaluation> evaluate_on(const std::filesystem::path& model_dir,
                                 const std::filesystem::path& prompts, size_t limit) const {
    TW_ASSIGN(const Config c,
              config({"demo.toml", "sspo.toml"},
                     {set("model.dir", model_dir), set("data.eval_prompts", prompts)}));
    TW_ASSIGN(const ModelFolder model, load_model(c));
    TW_ASSIGN(auto rows, load_prompts(c.eval_data, model));
    if (limit > 0 && rows.size() > limit) rows.resize(limit);
    const EvalSet set{prompts.stem().string(), std::move(rows), c.run.eval.samples};
    return evaluate(c, model, {&set, 1}, {.probe = true, .keep_rollouts = limit > 0}, stop_, {});
  }

  // The same few prompts under every model, for the report.
  Result<void> collect_rollouts() {
    TW_ASSIGN(const auto tokenizer, make_tokenizer());
    for (const Outcome& outcome : result_.outcomes) {
      TW_ASSIGN(const Evaluation e, evaluate_on(outcome.model, files_.curve, 3));
      for (const TracedRollout& traced : e.rollouts) {
        if (traced.rollout.failure.failed()) continue;
        result_.rollouts.push_back(rollout_view(outcome.title, traced, *tokenizer));
      }
    }
    return {};
  }

  static Error cancelled() { return {ErrorClass::kCancelled, "the demo was stopped"}; }

  std::stop_token stop_;
  TaskFiles files_;
  std::filesystem::path start_;
  DemoResult result_;
};

}  // namespace

Result<DemoResult> run_demo(const DemoOptions& options, std::stop_token stop) {
  return Demo(options, std::move(stop)).run();
}

}  // namespace tracewise::demo
