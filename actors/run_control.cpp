#include "actors/run_control.hpp"

#include <algorithm>
#include <string>
#include <utility>

#include "actors/admission.hpp"

namespace tracewise {
namespace {

std::string name_of(GroupKey key) {
  return "group " + std::to_string(key.group) + " (attempt " + std::to_string(key.attempt) + ")";
}

// Another attempt would end in the same way.
bool is_final(FailureClass failure) { return failure == FailureClass::kPromptTooLong; }

Error group_error(const std::string& what, const Failure& failure) {
  const ErrorClass error_class =
      is_final(failure.failure_class) ? ErrorClass::kBadInput : ErrorClass::kInternal;
  return {error_class, what + ": " + failure.message};
}

}  // namespace

RunControl::RunControl(const RunOptions& options, const std::vector<Prompt>* prompts,
                       const std::vector<EvalSet>* eval_sets, RunBooks* books, double wall_time,
                       TimePoint now)
    : options_(options),
      prompts_(prompts),
      eval_sets_(eval_sets),
      books_(books),
      order_(prompts->size(), options.seed, options.shuffle),
      clock_(books->start().state.train_seconds),
      wall_start_(wall_time),
      begun_(now) {
  const RunStart& start = books->start();
  step_ = start.state.step;
  version_ = start.state.version;
  again_.assign(start.again.rbegin(), start.again.rend());
  issued_ = books->ledger().issued() - again_.size();
  trained_ = start.trained.size();
  if (start.state.last_eval_seconds >= 0) last_eval_step_ = start.state.last_eval_step;
  last_eval_seconds_ = start.state.last_eval_seconds;
  if (start.checkpoint) {
    saved_step_ = step_;
    summary_.checkpoint = start.checkpoint->dir.string();
  }
  summary_.best_accuracy = start.state.best_metric;
  summary_.best_step = start.state.best_step;
  last_commit_seconds_ = clock_.seconds(now);
}

Result<RunControl::Todo> RunControl::begin(TimePoint now) {
  TW_TRY(decide(now));
  return finish_event(now);
}

Result<RunControl::Todo> RunControl::on_handed(uint32_t generator,
                                               const std::vector<GroupKey>& keys, uint32_t samples,
                                               TimePoint now) {
  for (const GroupKey& key : keys) {
    if ((key.group & kEvalGroup) == 0) books_->ledger().advance(key, GroupState::kGenerated);
    dispatcher_.hand_on(key);
  }
  dispatcher_.grant(generator, samples);
  return finish_event(now);
}

Result<RunControl::Todo> RunControl::on_join(const Seat& seat, TimePoint now) {
  dispatcher_.join(seat, options_.window_samples);
  return finish_event(now);
}

Result<RunControl::Todo> RunControl::on_lost(const Seat& seat, const std::string& reason,
                                             bool blame, TimePoint now) {
  const Failure failure{FailureClass::kEngine, name_of(seat) + " was lost: " + reason};
  if (seat.role == Role::kGenerator) engines_.erase(seat.number);
  for (const Dispatcher::InFlight& lost : dispatcher_.leave(seat)) {
    todo_.abandon.push_back(lost);
    if (lost.purpose == Purpose::kEval) {
      if (eval_) dispatcher_.push_front(eval_->retry(lost.key));
    } else if (blame) {
      TW_TRY(retry_or_give_up(lost.key, failure));
    } else {
      books_->ledger().fail(lost.key, failure, false);
      TW_TRY(reissue(lost.key));
    }
  }
  return finish_event(now);
}

Result<RunControl::Todo> RunControl::on_drain(const std::vector<Seat>& seats, TimePoint now) {
  for (const Seat& seat : seats) dispatcher_.drain(seat);
  return finish_event(now);
}

Result<RunControl::Todo> RunControl::on_taken(const std::vector<GroupKey>& keys,
                                              const std::vector<GroupKey>& without_signal,
                                              std::vector<LoggedRollout> logged, TimePoint now) {
  std::set<GroupKey> current;
  for (const GroupKey& key : keys) {
    // An older attempt than the one under way is trained on all the same: its commit drops the
    // newer.
    if (!dispatcher_.finish(key)) continue;
    current.insert(key);
    books_->ledger().advance(key, GroupState::kTraced);
    books_->ledger().advance(key, GroupState::kBuilt);
    built_.insert(key.group);
  }
  // Of whichever attempt: the learner has no other one of the group any more.
  for (const GroupKey& key : without_signal) without_signal_.insert(key.group);
  for (LoggedRollout& rollout : logged) {
    if (current.count(rollout.traced.rollout.key) > 0) books_->log_when_trained(std::move(rollout));
  }
  TW_TRY(decide(now));
  return finish_event(now);
}

Result<RunControl::Todo> RunControl::on_failed(const GroupFailed& failed, TimePoint now) {
  if (!dispatcher_.finish(failed.key)) return finish_event(now);
  books_->ledger().advance(failed.key, GroupState::kTraced);
  TW_TRY(retry_or_give_up(failed.key, failed.failure));
  TW_TRY(decide(now));
  return finish_event(now);
}

Result<RunControl::Todo> RunControl::on_refused(const std::vector<GroupKey>& keys, TimePoint now) {
  for (const GroupKey& key : keys) {
    // Refused on arrival, or dropped from the batch later; else another attempt is on its way.
    if (!dispatcher_.finish(key) && built_.erase(key.group) == 0) continue;
    without_signal_.erase(key.group);
    ++summary_.stale_groups;
    if (given_up_.count(key.group) > 0) {  // an empty group has no tokens that could be too old
      todo_.empty_groups.push_back({key, version_, {}, {}, {}});
      built_.insert(key.group);
      without_signal_.insert(key.group);
      continue;
    }
    TW_TRY(reissue(key));
  }
  return finish_event(now);
}

Result<RunControl::Todo> RunControl::on_measured(std::vector<TracedRollout> traced, TimePoint now) {
  for (TracedRollout& rollout : traced) {
    const GroupKey key = rollout.rollout.key;
    if (eval_ && eval_->put(std::move(rollout))) dispatcher_.finish(key);
  }
  if (eval_ && eval_->complete()) {
    TW_TRY(end_eval(now));
    TW_TRY(decide(now));
  }
  return finish_event(now);
}

Result<RunControl::Todo> RunControl::on_commit(const Commit& commit, TimePoint now) {
  if (commit.step != step_ + 1) {
    return Error{ErrorClass::kInternal, "the learner committed step " +
                                            std::to_string(commit.step) + " after step " +
                                            std::to_string(step_)};
  }
  TW_TRY(
      books_->record_step({commit.step, commit.groups}, step_metrics(commit, now), wall_time(now)));
  step_ = commit.step;
  version_ = commit.version;
  trained_ += commit.groups.size();
  size_t lost = 0;
  Failure last_failure;
  for (const GroupKey& key : commit.groups) {
    built_.erase(key.group);
    without_signal_.erase(key.group);
    failures_.erase(key.group);
    dispatcher_.drop(key.group);  // a newer attempt, if this was an older one
    if (const auto found = given_up_.find(key.group); found != given_up_.end()) {
      last_failure = found->second;
      ++lost;
      given_up_.erase(found);
    }
  }
  if (lost == commit.groups.size()) {
    return group_error("every group of step " + std::to_string(step_) + " failed", last_failure);
  }
  batch_since_.reset();
  if (stop_after_ && step_ >= *stop_after_) return on_stop(now);
  TW_TRY(decide(now));
  return finish_event(now);
}

Result<RunControl::Todo> RunControl::on_saved(uint64_t step, const std::string& folder,
                                              TimePoint now) {
  TW_TRY(books_->ledger().commit(step));
  saving_ = false;
  best_unsaved_ = false;
  saved_step_ = step;
  summary_.checkpoint = folder;
  TW_TRY(decide(now));
  return finish_event(now);
}

Result<RunControl::Todo> RunControl::on_stop(TimePoint now) {
  if (!stop_until_) stop_until_ = now + std::chrono::milliseconds(options_.deadlines.stop_ms);
  eval_.reset();
  TW_TRY(decide(now));
  return finish_event(now);
}

Result<RunControl::Todo> RunControl::on_tick(TimePoint now) {
  if (const auto late = dispatcher_.overdue(now)) {
    return Error{ErrorClass::kDeadline,
                 name_of(late->key) + " of generator " + std::to_string(late->route.generator) +
                     " was not finished within " + std::to_string(options_.deadlines.group_ms) +
                     " ms (deadlines.group_ms)"};
  }
  const auto limit = std::chrono::milliseconds(options_.deadlines.train_ms);
  if (batch_since_ && now - *batch_since_ > limit) {
    return Error{ErrorClass::kDeadline,
                 "the learner did not finish step " + std::to_string(step_ + 1) + " within " +
                     std::to_string(options_.deadlines.train_ms) + " ms (deadlines.train_ms)"};
  }
  // A checkpoint that was under way already has a later deadline of its own.
  if (saving_ && stop_until_ && now > *stop_until_) {
    return Error{ErrorClass::kDeadline, "a stop was asked for and the checkpoint after step " +
                                            std::to_string(step_) + " was not written within " +
                                            std::to_string(options_.deadlines.stop_ms) +
                                            " ms (deadlines.stop_ms)"};
  }
  return finish_event(now);
}

// Hands out what can be sent. Nothing is sent any more once a stop was asked for.
Result<RunControl::Todo> RunControl::finish_event(TimePoint now) {
  if (paused_) rest(now);
  if (!stop_until_ && !ended_ && !paused_) {
    const auto limit = std::chrono::milliseconds(options_.deadlines.group_ms);
    todo_.issue = dispatcher_.dispatch(now, now + limit);
  }
  todo_.drained = dispatcher_.take_drained();
  if (!has_batch()) {
    batch_since_.reset();
  } else if (!batch_since_) {
    batch_since_ = now;
  }
  return std::exchange(todo_, {});
}

Result<void> RunControl::decide(TimePoint now) {
  if (ended_ || eval_) return {};
  if (saving_) {
    // A checkpoint in the middle of asynchronous training holds up the learner alone.
    const bool go_on = !quiet() && !stop_until_ && !finished(now) && !eval_due(now);
    return go_on ? admit(now) : Result<void>();
  }
  if (stop_until_) {
    run_clock(false, now);
    if (saved_step_ != step_) return request_save(now);
    end(now);
    return {};
  }
  const bool done = finished(now);
  if (done && !quiet()) return {};  // asynchronous: what is under way comes to its end
  if (done) run_clock(false, now);
  if (eval_due(now)) {
    if (quiet()) begin_eval(now);
    return {};  // until then nothing new is issued
  }
  if (save_due(done)) return request_save(now);
  if (!done) return admit(now);
  end(now);
  return {};
}

Result<void> RunControl::admit(TimePoint now) {
  if (paused_) return {};
  std::vector<Issue> issues;
  std::vector<GroupTask> tasks;
  uint64_t next_new = books_->ledger().issued();
  // The rule knows batches of groups_per_batch groups alone.
  const uint64_t refilled = this->refilled();
  while (
      may_issue(issued_ - refilled, version_, options_.max_staleness, options_.groups_per_batch) &&
      (options_.steps == 0 || issued_ - refilled < options_.steps * options_.groups_per_batch)) {
    GroupKey key;
    if (again_.empty()) {
      key = {next_new++, 0};
    } else {
      key = {again_.back().group, again_.back().attempt + 1};
      again_.pop_back();
    }
    ++issued_;
    tasks.push_back(train_task(key));
    issues.push_back({key, version_, tasks.back().prompt.id});
  }
  if (issues.empty()) return {};
  TW_TRY(books_->ledger().issue(issues));
  for (GroupTask& task : tasks) dispatcher_.push(std::move(task));
  run_clock(true, now);
  return {};
}

// Groups that fill no place of a batch, so that each has another one in its stead: those of the
// batches so far, and of the ones under way as far as these may leave them out.
uint64_t RunControl::refilled() const {
  if (options_.max_refilled_groups == 0) return 0;
  const uint64_t most = (options_.max_staleness + 1) * options_.max_refilled_groups;
  return trained_ - version_ * options_.groups_per_batch +
         std::min<uint64_t>(without_signal_.size(), most);
}

// As the learner has it.
bool RunControl::has_batch() const {
  if (options_.steps > 0 && step_ >= options_.steps) return false;
  const auto without = static_cast<uint64_t>(
      std::count_if(without_signal_.begin(), without_signal_.end(),
                    [this](uint64_t group) { return built_.count(group) > 0; }));
  return is_batch(built_.size(), built_.size() - without, options_.groups_per_batch,
                  options_.max_refilled_groups);
}

GroupTask RunControl::train_task(GroupKey key) {
  GroupTask task;
  task.key = key;
  task.issue_version = version_;
  task.samples = options_.group_size;
  task.sampling = options_.sampling;
  task.prompt = (*prompts_)[order_.index(key.group)];
  return task;
}

Result<void> RunControl::reissue(GroupKey old) {
  books_->forget_logged(old.group);
  GroupTask task = train_task({old.group, old.attempt + 1});
  const Issue issue{task.key, version_, task.prompt.id};
  TW_TRY(books_->ledger().issue({&issue, 1}));
  dispatcher_.push_front(std::move(task));
  return {};
}

Result<void> RunControl::retry_or_give_up(GroupKey key, const Failure& failure) {
  const uint32_t failures = ++failures_[key.group];
  const bool give_up = failures >= options_.max_attempts || is_final(failure.failure_class);
  books_->ledger().fail(key, failure, give_up);
  if (!give_up) return reissue(key);
  ++summary_.failed_groups;
  given_up_[key.group] = failure;
  built_.insert(key.group);
  without_signal_.insert(key.group);
  SampleGroup empty{key, version_, {}, {}, {}};
  empty.stats.failures = options_.group_size;
  todo_.empty_groups.push_back(std::move(empty));
  return {};
}

}  // namespace tracewise
