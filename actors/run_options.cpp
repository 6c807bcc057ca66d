#include "actors/run_options.hpp"

#include <algorithm>
#include <cmath>
#include <string>

namespace tracewise {
namespace {

Result<void> at_least(const char* name, int64_t value, int64_t least) {
  if (value >= least) return {};
  return bad_input(std::string(name) + " = " + std::to_string(value) +
                   " is out of range: at least " + std::to_string(least) + " is needed");
}

Result<void> not_negative(const char* name, double value) {
  if (std::isfinite(value) && value >= 0) return {};
  return bad_input(std::string(name) + " = " + std::to_string(value) +
                   " is out of range: a number of at least 0 is needed");
}

Result<void> check_sampling(const std::string& place, const SamplingParams& s) {
  TW_TRY(not_negative((place + ".temperature").c_str(), s.temperature));
  TW_TRY(at_least((place + ".top_k").c_str(), s.top_k, 0));
  TW_TRY(at_least((place + ".max_new_tokens").c_str(), s.max_new_tokens, 1));
  if (!(s.top_p > 0 && s.top_p <= 1)) {
    return bad_input(place + ".top_p = " + std::to_string(s.top_p) +
                     " is out of range: above 0 and at most 1");
  }
  if (!(s.min_p >= 0 && s.min_p < 1)) {
    return bad_input(place + ".min_p = " + std::to_string(s.min_p) +
                     " is out of range: at least 0 and below 1");
  }
  return {};
}

Result<void> check_deadlines(const Deadlines& d) {
  TW_TRY(at_least("deadlines.start_ms", d.start_ms, 1));
  TW_TRY(at_least("deadlines.group_ms", d.group_ms, 1));
  TW_TRY(at_least("deadlines.probe_ms", d.probe_ms, 1));
  TW_TRY(at_least("deadlines.train_ms", d.train_ms, 1));
  TW_TRY(at_least("deadlines.collective_ms", d.collective_ms, 1));
  TW_TRY(at_least("deadlines.weights_ms", d.weights_ms, 1));
  TW_TRY(at_least("deadlines.checkpoint_ms", d.checkpoint_ms, 1));
  TW_TRY(at_least("deadlines.stop_ms", d.stop_ms, 1));
  return at_least("deadlines.exit_ms", d.exit_ms, 1);
}

}  // namespace

Result<void> check(const RunOptions& o) {
  TW_TRY(at_least("generators", o.generators, 1));
  TW_TRY(at_least("tracers", o.tracers, 1));
  TW_TRY(at_least("builders", o.builders, 1));
  TW_TRY(at_least("groups_per_batch", static_cast<int64_t>(o.groups_per_batch), 1));
  TW_TRY(at_least("group_size", o.group_size, 1));
  if (o.max_staleness > kMaxStaleness) {
    return bad_input("max_staleness = " + std::to_string(o.max_staleness) +
                     " is out of range: at most " + std::to_string(kMaxStaleness));
  }
  TW_TRY(at_least("max_attempts", o.max_attempts, 1));
  TW_TRY(at_least("window_samples", o.window_samples, 1));
  TW_TRY(at_least("window_rollouts", o.window_rollouts, 1));
  TW_TRY(at_least("eval.samples", o.eval.samples, 1));
  for (const uint32_t k : o.eval.pass_at) TW_TRY(at_least("eval.pass_at", k, 1));
  TW_TRY(at_least("checkpoint.keep_last", static_cast<int64_t>(o.checkpoint.keep_last), 1));
  TW_TRY(not_negative("budget_seconds", o.budget_seconds));
  TW_TRY(not_negative("eval.every_seconds", o.eval.every_seconds));
  TW_TRY(not_negative("progress_seconds", o.progress_seconds));
  for (const double seconds : o.eval.at_seconds) TW_TRY(not_negative("eval.at_seconds", seconds));
  TW_TRY(check_sampling("sampling", o.sampling));
  TW_TRY(check_sampling("eval.sampling", o.eval.sampling));
  if (!std::is_sorted(o.eval.at_seconds.begin(), o.eval.at_seconds.end())) {
    return bad_input("eval.at_seconds is not ascending");
  }
  return check_deadlines(o.deadlines);
}

double run_progress(const RunOptions& options, uint64_t step, double train_seconds) {
  double done = 0;
  if (options.steps > 0) {
    done = static_cast<double>(step) / static_cast<double>(options.steps);
  }
  if (options.budget_seconds > 0) done = std::max(done, train_seconds / options.budget_seconds);
  return std::clamp(done, 0.0, 1.0);
}

}  // namespace tracewise
