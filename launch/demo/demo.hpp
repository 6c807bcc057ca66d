// The demo: a warm start, then GRPO and SSPO from it for the same training time, side by side.
// It writes files and configs as a user would and runs what the commands sft, train and eval run.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "launch/demo/task.hpp"
#include "launch/evaluate.hpp"
#include "launch/report/report.hpp"

namespace tracewise::demo {

struct DemoOptions {
  std::string task = "last-digit";
  uint64_t seed = 1;
  std::filesystem::path out;         // empty: runs/demo-TASK-SEED
  bool quick = false;                // shorter runs, smaller claims
  bool all = false;                  // with the controls
  std::vector<std::string> methods;  // by key; empty: grpo and sspo, or all of them
  std::vector<std::string> sets;     // key=value over the methods' own
  double budget_seconds = 0;         // training time of each method; 0: the demo's own
  int64_t warm_start_steps = 0;      // 0: the demo's own
  std::filesystem::path start;       // a warm start made before; empty: make one
};

// What a method starts from and what it changes.
struct Method {
  std::string key;                // "sspo", in files and JSON
  std::string title;              // "SSPO", for people
  std::string preset;             // file in configs/
  std::vector<std::string> sets;  // key=value over it
  bool control = false;           // only with --all
};

// Methods of a task, GRPO and SSPO first.
std::vector<Method> methods_of(const std::string& task);

// Those named by `keys`; without keys those that are no controls, or all. kBadInput names a key
// that is none of the task's.
Result<std::vector<Method>> choose_methods(const std::vector<Method>& methods,
                                           const std::vector<std::string>& keys, bool all);

// What came out for the warm start or one method.
struct Outcome {
  std::string key;
  std::string title;
  Evaluation final;               // on the final prompts, values probed
  std::vector<CurvePoint> curve;  // on the curve prompts, during training
  double wall_seconds = 0;        // of training: sampling, probing, updates
  uint64_t train_steps = 0;
  double probe_share = 0;         // of wall_seconds, mean over the generators
  double samples_per_second = 0;  // rollouts over wall_seconds
  std::filesystem::path model;    // Hugging Face folder
};

struct DemoResult {
  DemoOptions options;
  std::vector<Outcome> outcomes;  // the warm start first ("sft")
  std::vector<ReportRollout> rollouts;
  double wall_seconds = 0;  // of everything

  const Outcome* find(const std::string& key) const;
};

// Whether the demo showed what it claims, and the claim in words with its numbers. Only claims
// whose methods were trained are made.
struct Claim {
  std::string text;
  bool holds = false;
};
std::vector<Claim> check_claims(const DemoResult& result);

// Runs the demo; progress goes to stdout. kCancelled when `stop` ended it.
Result<DemoResult> run_demo(const DemoOptions& options, std::stop_token stop);

// The table for a terminal, the contract's JSON, the page.
std::string result_table(const DemoResult& result);
std::string result_json(const DemoResult& result);
Report result_report(const DemoResult& result);

}  // namespace tracewise::demo
