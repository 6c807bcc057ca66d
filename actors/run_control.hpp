// The coordinator's mind: what is issued, measured, written and when the run ends. No actor, no
// thread, no clock of its own: events come in, a Todo goes out.
//
//             +------------------------- commit -------------------------+
//             v                                                          |
//   begin -> decide -> issue groups -> built ... (learner trains) -------+
//             |  ^
//             |  +-- measured <- evaluation (training stands still, its clock too)
//             |  +-- saved    <- checkpoint
//             +----- end: steps or seconds used up, or a stop was asked for
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "actors/dispatcher.hpp"
#include "actors/eval_run.hpp"
#include "actors/progress.hpp"
#include "actors/prompt_order.hpp"
#include "actors/run_books.hpp"
#include "actors/run_options.hpp"
#include "actors/run_order.hpp"
#include "actors/train_clock.hpp"
#include "messages/records.hpp"
#include "rollout/engine.hpp"

namespace tracewise {

// The training clock as the coordinator has it, for the learner's copy.
struct ClockReading {
  double seconds = 0;
  bool running = false;
};

// A checkpoint that the learner is to write between two batches. step, version and batches of the
// state are the learner's own.
struct SaveRequest {
  CheckpointState state;
  bool best = false;  // it has the best accuracy so far (eval.best_set)
  uint64_t keep_last = 1;
  bool keep_best = true;
  int64_t deadline_ms = 0;
};

struct RunSummary {
  bool interrupted = false;  // by a stop that was asked for
  uint64_t step = 0;
  uint64_t version = 0;
  double train_seconds = 0;  // of the whole run, earlier processes included
  // Of this process alone:
  double wall_seconds = 0;
  uint64_t rollouts = 0;  // trained or dropped for want of signal
  uint64_t response_tokens = 0;
  double generate_seconds = 0;  // of the engines
  double probe_seconds = 0;     // of the engines
  uint64_t failed_groups = 0;   // without attempts left
  uint64_t stale_groups = 0;    // refused by the learner and issued again
  std::vector<EvalResult> evals;
  double best_accuracy = -1;  // of the evaluations of the whole run (eval.best_set); -1: none
  uint64_t best_step = 0;
  std::string checkpoint;  // folder of the last one
};

// Not thread-safe; owned by the coordinator. Every event's Result is an error that ends the run.
class RunControl {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  struct Todo {
    std::vector<GroupTask> issue;               // to the generators of their routes
    std::vector<SampleGroup> empty_groups;      // to the learner, for groups without attempts left
    std::vector<Dispatcher::InFlight> abandon;  // to those on their routes: not to be completed
    std::vector<Seat> drained;                  // to the supervisor: nothing is on its way there
    std::optional<ClockReading> clock;          // to the learner
    std::optional<SaveRequest> save;            // to the learner
    std::optional<RunSummary> end;
  };

  // `books`, the prompts and the sets outlive the object. `wall_time` is the time of `now` in
  // seconds since 1970.
  RunControl(const RunOptions& options, const std::vector<Prompt>* prompts,
             const std::vector<EvalSet>* eval_sets, RunBooks* books, double wall_time,
             TimePoint now);

  Result<Todo> begin(TimePoint now);
  // A seat can be given work from now on. One that is there already is ignored.
  Result<Todo> on_join(const Seat& seat, TimePoint now);
  // What was on its way through a seat is issued again. `blame`: it died of its own, so the attempt
  // counts against the group, which may be what kills whoever works on it.
  Result<Todo> on_lost(const Seat& seat, const std::string& reason, bool blame, TimePoint now);
  // Seats that are to get nothing new; each is in a Todo's `drained` once what it has is done.
  Result<Todo> on_drain(const std::vector<Seat>& seats, TimePoint now);
  // All rollouts of these groups have left their generator, which has room for `samples` more.
  Result<Todo> on_handed(uint32_t generator, const std::vector<GroupKey>& keys, uint32_t samples,
                         TimePoint now);
  // The learner holds these groups, some of them without a signal; `logged` are the rollouts of
  // them that are to be logged.
  Result<Todo> on_taken(const std::vector<GroupKey>& keys,
                        const std::vector<GroupKey>& without_signal,
                        std::vector<LoggedRollout> logged, TimePoint now);
  Result<Todo> on_failed(const GroupFailed& failed, TimePoint now);
  Result<Todo> on_refused(const std::vector<GroupKey>& keys, TimePoint now);
  Result<Todo> on_measured(std::vector<TracedRollout> traced, TimePoint now);
  Result<Todo> on_commit(const Commit& commit, TimePoint now);
  // `step` is the learner's, at which the checkpoint was taken.
  Result<Todo> on_saved(uint64_t step, const std::string& folder, TimePoint now);
  Result<Todo> on_stop(TimePoint now);
  // Whether an operator's order can be carried out now; kBadInput says why not.
  Result<void> check(const RunOrder& order) const;
  Result<Todo> on_order(const RunOrder& order, TimePoint now);
  Result<Todo> on_tick(TimePoint now);  // deadlines

  Progress progress(TimePoint now) const;
  const char* activity() const;  // of the progress
  const Dispatcher& dispatcher() const { return dispatcher_; }
  // Since when the learner has a whole batch.
  std::optional<TimePoint> batch_since() const { return batch_since_; }
  // A generator's newest counters, for the metrics of the next step.
  void set_engine_stats(uint32_t generator, const EngineStats& stats);

 private:
  Result<Todo> finish_event(TimePoint now);
  Result<void> decide(TimePoint now);
  Result<void> admit(TimePoint now);
  uint64_t refilled() const;
  bool has_batch() const;
  Result<void> reissue(GroupKey old);
  Result<void> retry_or_give_up(GroupKey key, const Failure& failure);
  void begin_eval(TimePoint now);
  Result<void> end_eval(TimePoint now);
  Result<void> request_save(TimePoint now);
  void end(TimePoint now);
  bool quiet() const;
  void rest(TimePoint now);
  bool finished(TimePoint now) const;
  bool eval_due(TimePoint now) const;
  bool save_due(bool finished) const;
  GroupTask train_task(GroupKey key);
  std::vector<Metric> step_metrics(const Commit& commit, TimePoint now);
  std::vector<Metric> engine_metrics();
  void run_clock(bool running, TimePoint now);
  double wall_time(TimePoint now) const;

  const RunOptions options_;
  const std::vector<Prompt>* prompts_;
  const std::vector<EvalSet>* eval_sets_;
  RunBooks* books_;
  PromptOrder order_;
  Dispatcher dispatcher_;
  TrainClock clock_;
  double wall_start_;
  TimePoint begun_;

  uint64_t step_ = 0;
  uint64_t version_ = 0;
  uint64_t issued_ = 0;          // groups of this history: neither `again_` nor attempts count
  std::vector<GroupKey> again_;  // left by an earlier process, descending; issued before new groups
  std::map<uint64_t, uint32_t> failures_;  // failed attempts of groups that are not trained
  std::map<uint64_t, Failure> given_up_;   // failed for good, their batch not yet trained
  std::set<uint64_t> built_;               // at the learner, not yet trained
  std::set<uint64_t> without_signal_;      // at the learner too
  uint64_t trained_ = 0;                   // groups of all batches so far
  std::optional<TimePoint> batch_since_;
  std::map<uint32_t, EngineStats> engines_;
  struct {
    uint64_t count = 0;
    double pause_sum = 0, pause_max = 0, wait_max = 0, step_max = 0;  // seconds
  } swaps_;  // of weights, with rollouts under way, since the last commit

  std::unique_ptr<EvalRun> eval_;
  TimePoint eval_since_{};
  std::optional<uint64_t> last_eval_step_;
  double last_eval_seconds_ = -1;

  bool saving_ = false;
  bool best_unsaved_ = false;
  std::optional<uint64_t> saved_step_;
  std::optional<TimePoint> stop_until_;  // a stop was asked for: the checkpoint is there by then
  bool paused_ = false;                  // by an operator
  bool clock_stopped_ = false;           // by the pause, so that its end starts it again
  bool eval_asked_ = false;              // by an operator
  std::optional<uint64_t> stop_after_;
  bool ended_ = false;

  double last_commit_seconds_ = 0;
  Progress shown_;  // what the last commit brought
  RunSummary summary_;
  Todo todo_;
};

}  // namespace tracewise
