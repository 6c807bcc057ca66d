// RunControl's evaluations, checkpoints, clock and reports.
#include <algorithm>
#include <string>
#include <utility>

#include "actors/run_control.hpp"

namespace tracewise {
namespace {

double metric(const std::vector<Metric>& metrics, const char* name) {
  const auto found = std::find_if(metrics.begin(), metrics.end(),
                                  [name](const Metric& m) { return m.name == name; });
  return found == metrics.end() ? 0 : found->value;
}

// Whether a multiple of `every` lies in (before, step]; every = 0: never. Asynchronous training
// goes on past the multiple itself, while what is under way comes to its end.
bool passed_multiple(uint64_t every, uint64_t before, uint64_t step) {
  return every > 0 && step / every > before / every;
}

// What checkpoints are compared by.
double chosen_accuracy(const EvalResult& result, const std::string& best_set) {
  const auto found = std::find_if(result.sets.begin(), result.sets.end(),
                                  [&](const SetResult& set) { return set.name == best_set; });
  return found == result.sets.end() ? result.accuracy : found->accuracy;
}

double seconds_between(RunControl::TimePoint from, RunControl::TimePoint to) {
  return std::chrono::duration<double>(to - from).count();
}

}  // namespace

// No training group is under way and the learner has no batch to train on.
bool RunControl::quiet() const { return dispatcher_.idle() && !has_batch(); }

bool RunControl::finished(TimePoint now) const {
  return (options_.steps > 0 && step_ >= options_.steps) ||
         (options_.budget_seconds > 0 && clock_.seconds(now) >= options_.budget_seconds);
}

bool RunControl::eval_due(TimePoint now) const {
  if (eval_sets_->empty() || last_eval_step_ == step_) return false;
  if (eval_asked_) return true;
  const EvalOptions& eval = options_.eval;
  if (finished(now) && eval.at_end) return true;
  if (step_ == 0) return eval.at_start;
  if (passed_multiple(eval.every_steps, last_eval_step_.value_or(0), step_)) return true;
  const double seconds = clock_.seconds(now);
  const double last = std::max(0.0, last_eval_seconds_);
  if (eval.every_seconds > 0 && seconds - last >= eval.every_seconds) return true;
  return std::any_of(eval.at_seconds.begin(), eval.at_seconds.end(),
                     [&](double at) { return last_eval_seconds_ < at && at <= seconds; });
}

void RunControl::begin_eval(TimePoint now) {
  run_clock(false, now);
  eval_asked_ = false;
  eval_ = std::make_unique<EvalRun>(*eval_sets_, options_.eval.sampling, version_);
  eval_since_ = now;
  for (GroupTask& task : eval_->tasks()) dispatcher_.push(std::move(task));
}

Result<void> RunControl::end_eval(TimePoint now) {
  std::vector<TracedRollout> rollouts = eval_->take();
  eval_.reset();
  TW_ASSIGN(const auto pass_at, pass_at_of(options_.eval.pass_at, *eval_sets_));
  EvalResult result = measure(rollouts, *eval_sets_, pass_at);
  result.step = step_;
  result.version = version_;
  result.train_seconds = clock_.seconds(now);
  result.wall_seconds = seconds_between(eval_since_, now);
  if (const std::string* set = unmeasured_set(result)) {
    return Error{ErrorClass::kInternal, "every rollout of the evaluation set " + *set +
                                            " after step " + std::to_string(step_) +
                                            " failed: " + first_failure(rollouts, *set).message};
  }
  last_eval_step_ = step_;
  last_eval_seconds_ = result.train_seconds;
  const double accuracy = chosen_accuracy(result, options_.eval.best_set);
  if (accuracy > summary_.best_accuracy) {
    summary_.best_accuracy = accuracy;
    summary_.best_step = step_;
    // The start is nobody's best: there is nothing that training made.
    best_unsaved_ = step_ > 0 && options_.checkpoint.keep_best;
  }
  TW_TRY(books_->record_eval(result, std::move(rollouts), summary_.best_step, wall_time(now)));
  summary_.evals.push_back(std::move(result));
  return {};
}

bool RunControl::save_due(bool finished) const {
  if (saved_step_ == step_) return false;
  if (finished) return true;
  if (step_ == 0) return false;
  const CheckpointOptions& checkpoint = options_.checkpoint;
  if (best_unsaved_) return true;
  return passed_multiple(checkpoint.every_steps, saved_step_.value_or(0), step_);
}

Result<void> RunControl::request_save(TimePoint now) {
  TW_TRY(books_->ledger().flush(true));
  saving_ = true;
  if (quiet()) run_clock(false, now);
  SaveRequest save;
  save.state.step = step_;
  save.state.version = version_;
  save.state.next_group = books_->ledger().issued();
  save.state.train_seconds = clock_.seconds(now);
  save.state.seed = options_.seed;
  save.state.best_metric = summary_.best_accuracy;
  save.state.best_step = summary_.best_step;
  save.state.last_eval_step = last_eval_step_.value_or(0);
  save.state.last_eval_seconds = last_eval_seconds_;
  save.best = best_unsaved_;
  save.keep_last = options_.checkpoint.keep_last;
  save.keep_best = options_.checkpoint.keep_best;
  save.deadline_ms = options_.deadlines.checkpoint_ms;
  if (stop_until_) {  // what another checkpoint took since the stop is gone
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(*stop_until_ - now);
    save.deadline_ms = std::max<int64_t>(1, left.count());
  }
  todo_.save = std::move(save);
  return {};
}

void RunControl::end(TimePoint now) {
  ended_ = true;
  run_clock(false, now);
  summary_.interrupted = stop_until_ && !finished(now);
  summary_.step = step_;
  summary_.version = version_;
  summary_.train_seconds = clock_.seconds(now);
  summary_.wall_seconds = seconds_between(begun_, now);
  todo_.end = summary_;
}

void RunControl::run_clock(bool running, TimePoint now) {
  if (clock_.running() == running) return;
  if (running) {
    clock_.start(now);
  } else {
    clock_.pause(now);
  }
  todo_.clock = ClockReading{clock_.seconds(now), running};
}

double RunControl::wall_time(TimePoint now) const {
  return wall_start_ + seconds_between(begun_, now);
}

void RunControl::set_engine_stats(uint32_t generator, const EngineStats& stats) {
  EngineStats& known = engines_[generator];
  if (stats.swaps > known.swaps && stats.swap_pause_seconds > 0) {
    ++swaps_.count;
    swaps_.pause_sum += stats.swap_pause_seconds;
    swaps_.pause_max = std::max(swaps_.pause_max, stats.swap_pause_seconds);
    swaps_.wait_max = std::max(swaps_.wait_max, stats.swap_wait_seconds);
    swaps_.step_max = std::max(swaps_.step_max, stats.longest_step_seconds);
  }
  known = stats;
}

std::vector<Metric> RunControl::engine_metrics() {
  std::vector<Metric> metrics;
  const auto add = [&metrics](const char* name, double value) { metrics.push_back({name, value}); };
  if (engines_.empty()) return metrics;
  uint64_t preemptions = 0, expired = 0, recomputed = 0;
  for (const auto& [generator, stats] : engines_) {
    preemptions += stats.preemptions;
    expired += stats.expired_leases;
    recomputed += stats.recomputed_tokens;
  }
  add("rollout/preemptions", static_cast<double>(preemptions));
  add("rollout/expired_leases", static_cast<double>(expired));
  add("rollout/recomputed_tokens", static_cast<double>(recomputed));
  const auto swaps = std::exchange(swaps_, {});
  if (swaps.count == 0) return metrics;
  add("rollout/swap_pause_ms", 1000 * swaps.pause_sum / static_cast<double>(swaps.count));
  add("rollout/swap_pause_ms_max", 1000 * swaps.pause_max);
  add("rollout/swap_wait_ms_max", 1000 * swaps.wait_max);
  add("rollout/longest_step_ms", 1000 * swaps.step_max);
  return metrics;
}

std::vector<Metric> RunControl::step_metrics(const Commit& commit, TimePoint now) {
  std::vector<Metric> metrics = commit.metrics;
  const double seconds = clock_.seconds(now);
  const double step_seconds = seconds - last_commit_seconds_;
  const double rollouts = metric(metrics, "train/rollouts");
  const double tokens = metric(metrics, "train/response_tokens") * rollouts;
  metrics.push_back({"time/train_seconds", seconds});
  metrics.push_back({"time/step_seconds", step_seconds});
  if (step_seconds > 0) {
    metrics.push_back({"time/tokens_per_second", tokens / step_seconds});
    metrics.push_back({"time/rollouts_per_second", rollouts / step_seconds});
  }
  const std::vector<Metric> engines = engine_metrics();
  metrics.insert(metrics.end(), engines.begin(), engines.end());
  summary_.rollouts += static_cast<uint64_t>(rollouts);
  summary_.response_tokens += static_cast<uint64_t>(tokens + 0.5);
  summary_.generate_seconds += metric(metrics, "train/generate_seconds");
  summary_.probe_seconds += metric(metrics, "train/probe_seconds");
  shown_.accuracy = metric(metrics, "train/accuracy");
  shown_.response_tokens = metric(metrics, "train/response_tokens");
  shown_.tokens_per_second = step_seconds > 0 ? tokens / step_seconds : 0;
  last_commit_seconds_ = seconds;
  return metrics;
}

const char* RunControl::activity() const {
  return ended_        ? "ended"
         : stop_until_ ? "stopping"
         : saving_     ? "writing a checkpoint"
         : eval_       ? "evaluating"
         : paused_     ? "paused"
                       : "training";
}

Progress RunControl::progress(TimePoint now) const {
  Progress p = shown_;
  p.step = step_;
  p.steps = options_.steps;
  p.version = version_;
  p.train_seconds = clock_.seconds(now);
  p.activity = activity();
  const double done = run_progress(options_, step_, p.train_seconds);
  const double used = p.train_seconds - books_->start().state.train_seconds;
  const double done_before =
      run_progress(options_, books_->start().state.step, books_->start().state.train_seconds);
  if (done > done_before) p.seconds_left = used * (1 - done) / (done - done_before);
  return p;
}

}  // namespace tracewise
