// A GRPO step of SmolLM2 as a user runs it, beside TRL's.
#include <fcntl.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "bench/smollm2.hpp"
#include "model/file_io.hpp"

namespace tracewise::bench {
namespace {

constexpr int kGroups = 4, kGroupSize = 8, kNewTokens = 96, kSteps = 3;
// TRL's passes are of 8 sequences of 116 tokens.
constexpr int kMicroBatchTokens = 1024;

const char* const kReward = "def reward(response):\n    return len(response) % 7 / 7\n";

struct Step {
  double samples_per_second = 0;
  double peak_gigabytes = 0;
};

// Runs the command with its output in `log`; the most memory that it had, in bytes.
Result<double> run_to_end(const std::vector<std::string>& words, const std::filesystem::path& log) {
  std::vector<char*> argv;
  for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, log.c_str(),
                                   O_WRONLY | O_CREAT | O_TRUNC, 0644);
  posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO);
  pid_t child = 0;
  const int failed = posix_spawn(&child, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (failed != 0) return io_error("cannot start " + words[0]);
  rusage usage{};
  int status = 0;
  if (::wait4(child, &status, 0, &usage) != child || status != 0)
    return io_error("'" + words[0] + " " + words[1] + "' failed; it said why in " + log.string());
  return static_cast<double>(usage.ru_maxrss) * 1024;
}

double median_of(std::vector<double> x) {
  std::sort(x.begin(), x.end());
  return x[x.size() / 2];
}

// The first step, which touches all memory for the first time, does not count on either side.
Result<Step> our_step(const BenchOptions& options, const RealWorkload& workload) {
  const std::filesystem::path run = options.dir / "smollm2_run", reward = options.dir / "reward.py";
  std::filesystem::remove_all(run);
  TW_TRY(write_file(reward, kReward));
  std::vector<std::string> words = {"/proc/self/exe", "train", "--config",
                                    (options.source / "configs/grpo.toml").string()};
  const std::string threads = std::to_string(options.threads);
  for (const std::string& set :
       {"model.dir=" + workload.model.string(), "data.prompts=" + workload.prompts_file.string(),
        "verifier.file=" + reward.string(), "run.dir=" + run.string(), "engine.threads=" + threads,
        "trainer.threads=" + threads, "run.steps=" + std::to_string(kSteps),
        "run.groups_per_batch=" + std::to_string(kGroups),
        "run.group_size=" + std::to_string(kGroupSize),
        "sampling.max_new_tokens=" + std::to_string(kNewTokens),
        "trainer.micro_batch_tokens=" + std::to_string(kMicroBatchTokens)})
    words.insert(words.end(), {"--set", set});
  // A stop token that is never sampled: every response has kNewTokens.
  for (const char* set :
       {"model.dtype=bfloat16", "verifier.kind=python", "verifier.require_stop=false",
        "engine.stop_tokens=[3]", "eval.at_start=false", "eval.at_end=false"})
    words.insert(words.end(), {"--set", set});
  TW_ASSIGN(const double peak, run_to_end(words, options.dir / "smollm2_run.log"));
  std::ifstream metrics(run / "metrics.jsonl");
  std::vector<double> speeds;
  for (std::string line; std::getline(metrics, line);) {
    const auto step = nlohmann::json::parse(line);
    if (const auto seconds = step.find("time/step_seconds"); seconds != step.end())
      speeds.push_back(kGroups * kGroupSize / seconds->get<double>());
  }
  if (speeds.size() != kSteps) return io_error((run / "metrics.jsonl").string() + " lacks steps");
  return Step{median_of({speeds.begin() + 1, speeds.end()}), peak / 1e9};
}

// TRL with its weights in `dtype`; autocast: it computes in bf16 over fp32 weights.
Result<Step> trl_step(const BenchOptions& options, const RealWorkload& workload,
                      const std::string& dtype, bool autocast) {
  TW_ASSIGN(const std::vector<double> numbers,
            run_reference_numbers(
                options,
                {workload.model, workload.prompts_file, std::to_string(kGroups),
                 std::to_string(kGroupSize), std::to_string(kNewTokens), std::to_string(kSteps),
                 std::to_string(options.threads), dtype, autocast ? "autocast" : "plain"},
                "trl", "bench/reference_trl.py"));
  if (numbers.size() != 2) return io_error("bench/reference_trl.py did not print two numbers");
  return Step{numbers[0], numbers[1] / 1e9};
}

void add_rows(const std::vector<Step>& ours, const std::vector<Step>& theirs,
              const std::string& reference, bool same_precision, std::vector<BenchResult>& rows) {
  std::vector<double> speed[2], memory[2];
  for (size_t i = 0; i < ours.size(); ++i) {
    for (const auto& [side, step] : {std::pair(0, ours[i]), std::pair(1, theirs[i])}) {
      speed[side].push_back(step.samples_per_second);
      memory[side].push_back(step.peak_gigabytes);
    }
  }
  rows.push_back(summarise("SmolLM2, GRPO step", "samples/s", reference, speed[0], speed[1]));
  rows.back().goal = 1.5;
  rows.push_back(summarise("SmolLM2, peak memory", "GB", reference, memory[1], memory[0]));
  std::swap(rows.back().value, rows.back().reference_value);
  rows.back().ratio = 1 / rows.back().ratio;
  rows.back().goal = same_precision ? 1 : 0;
  rows.back().at_most = true;
}

}  // namespace

Result<std::vector<BenchResult>> bench_trl(const BenchOptions& options) {
  TW_ASSIGN(const RealWorkload workload, make_real_workload(options));
  std::vector<Step> ours, usual, narrow;
  for (int r = 0; r < options.repetitions; ++r) {
    TW_ASSIGN(ours.emplace_back(), our_step(options, workload));
    TW_ASSIGN(usual.emplace_back(), trl_step(options, workload, "float32", true));
    TW_ASSIGN(narrow.emplace_back(), trl_step(options, workload, "bfloat16", false));
  }
  std::vector<BenchResult> rows;
  add_rows(ours, usual, "TRL, fp32 weights and moments, bf16 autocast", true, rows);
  add_rows(ours, narrow, "TRL, all in bf16, moments too", false, rows);
  return rows;
}

}  // namespace tracewise::bench
