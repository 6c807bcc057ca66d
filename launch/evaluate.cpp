#include "launch/evaluate.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "actors/eval_run.hpp"
#include "actors/work_threads.hpp"
#include "launch/parts.hpp"
#include "launch/tracing.hpp"
#include "learner/sample_group.hpp"
#include "messages/waits.hpp"

namespace tracewise {
namespace {

using Seconds = std::chrono::duration<double>;

// The groups, shared by the threads that work on them.
class Work {
 public:
  Work(std::span<const EvalSet> sets, const SamplingParams& sampling, uint64_t version,
       uint32_t workers, bool probe)
      : run_(sets, sampling, version),
        tasks_(run_.tasks()),
        left_(workers),
        groups_(tasks_.size()) {
    for (const GroupTask& task : tasks_) rollouts_ += task.samples;
    // A tracer probes what is trained on.
    if (probe)
      for (GroupTask& task : tasks_) task.purpose = Purpose::kTrain;
    std::ranges::reverse(tasks_);
  }

  std::optional<GroupTask> next() {
    const std::lock_guard lock(mutex_);
    if (tasks_.empty() || error_) return std::nullopt;
    GroupTask task = std::move(tasks_.back());
    tasks_.pop_back();
    return task;
  }

  void put(TracedRollout traced) {
    const std::lock_guard lock(mutex_);
    if (traced.rollout.failure.failure_class == FailureClass::kProbe) {
      // Its reward was known before; a probe must not change what is measured.
      traced.rollout.failure = {};
      ++unprobed_;
    }
    traced.rollout.purpose = Purpose::kEval;
    ++done_;
    if (!traced.rollout.failure.failed()) {
      ++good_;
      reward_ += static_cast<double>(traced.reward);
      tokens_ += traced.rollout.tokens.size();
    }
    run_.put(std::move(traced));
  }

  void add_sampled(uint64_t tokens) { sampled_ += tokens; }

  // A worker's last word.
  void leave(Result<void> result) {
    const std::lock_guard lock(mutex_);
    if (!result.ok() && !error_) error_ = result.error();
    if (--left_ == 0) changed_.notify_all();
  }

  bool failed() const {
    const std::lock_guard lock(mutex_);
    return error_.has_value();
  }

  // True when all workers have left; waits `seconds` for it at most, for ever if 0.
  bool wait(double seconds) {
    std::unique_lock lock(mutex_);
    const auto done = [this] { return left_ == 0; };
    if (seconds <= 0) return Wait("the end of the evaluation").on(changed_, lock, done);
    const auto limit =
        std::chrono::duration_cast<std::chrono::milliseconds>(Seconds(std::min(seconds, 1e6)));
    return Wait("the end of the evaluation", "its workers",
                std::chrono::steady_clock::now() + limit)
        .on(changed_, lock, done);
  }

  EvaluateProgress progress(double seconds) const {
    const std::lock_guard lock(mutex_);
    EvaluateProgress p;
    p.groups = groups_;
    p.groups_done = groups_ - run_.groups_left();
    p.rollouts = rollouts_;
    p.rollouts_done = done_;
    const auto good = static_cast<double>(good_);
    p.accuracy = reward_ / good;
    p.response_tokens = static_cast<double>(tokens_) / good;
    p.tokens_per_second = static_cast<double>(sampled_) / seconds;
    if (done_ > 0)
      p.seconds_left =
          seconds * static_cast<double>(rollouts_ - done_) / static_cast<double>(done_);
    return p;
  }

  // After wait().
  const std::optional<Error>& error() const { return error_; }
  std::vector<TracedRollout> take() { return run_.take(); }
  uint64_t unprobed() const { return unprobed_; }

 private:
  mutable std::mutex mutex_;
  Condition changed_;
  EvalRun run_;
  std::vector<GroupTask> tasks_;  // not yet taken, the first one last
  uint32_t left_;                 // workers that have not left
  std::optional<Error> error_;
  uint64_t groups_;
  uint64_t rollouts_ = 0;  // all there will be
  uint64_t done_ = 0;
  uint64_t good_ = 0;    // of those that are done
  uint64_t tokens_ = 0;  // theirs
  std::atomic<uint64_t> sampled_ = 0;
  uint64_t unprobed_ = 0;
  double reward_ = 0;
};

// One thread's engine and tracer.
class Worker {
 public:
  Worker(Work& work, std::stop_token stop, uint64_t window)
      : work_(work), stop_(std::move(stop)), window_(window) {}
  ~Worker() {
    if (tracer_) tracer_->abort();
  }
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  Result<void> run(const Config& config, const ModelFolder& model) {
    TW_ASSIGN(engine_, make_engine(engine_options(config, model.config), model.config,
                                   model.weights, model.tokenizer.get()));
    TracerOptions options = tracer_options(config, model.config);
    options.worth_probing = nullptr;  // what training would leave out is measured too
    TW_ASSIGN(tracer_, Tracer::make(std::move(options), *model.tokenizer));
    if (const uint32_t calls = tracer_->limits().calls; calls > 0)
      threads_ = std::make_unique<WorkThreads<TracerOutput::Done>>("verifier", calls, [] {});
    for (;;) {
      if (stop_.stop_requested())
        return Error{ErrorClass::kCancelled, "the evaluation was stopped"};
      while (owed_ < window_) {
        auto task = work_.next();
        if (!task) break;
        owed_ += task->samples;
        engine_->submit(std::move(*task));
      }
      if (owed_ == 0 || work_.failed()) return {};
      finish_work();
      if (working_ > 0 && working_ == owed_) {  // the engine has nothing to do
        threads_->wait(kPause);
        continue;
      }
      EngineOutput out = engine_->step(Clock::now());
      const uint64_t sampled = engine_->stats().sampled_tokens;
      work_.add_sampled(sampled - std::exchange(sampled_, sampled));
      for (Rollout& rollout : out.rollouts) pass_on(tracer_->on_rollout(std::move(rollout)));
      for (ProbeResult& result : out.probes) pass_on(tracer_->on_probe_result(std::move(result)));
    }
  }

 private:
  static constexpr std::chrono::milliseconds kPause{100};

  void finish_work() {
    if (!threads_) return;
    for (const auto& done : threads_->take()) {
      --working_;
      pass_on(done(*tracer_));
    }
  }

  void pass_on(Tracer::Output out) {
    for (auto& work : out.work) {
      threads_->add(std::move(work.run));
      ++working_;
    }
    for (auto& [generator, probe] : out.probes) engine_->probe(std::move(probe));
    for (const auto& [generator, lease] : out.releases) engine_->release(lease);
    owed_ -= out.traced.size();
    for (TracedRollout& traced : out.traced) work_.put(std::move(traced));
  }

  Work& work_;
  std::stop_token stop_;
  uint64_t window_;  // rollouts that it owes at a time; a group may exceed it
  uint64_t owed_ = 0;
  uint64_t sampled_ = 0;  // tokens, up to the engine's last step
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Tracer> tracer_;
  std::unique_ptr<WorkThreads<TracerOutput::Done>> threads_;  // where the tracer has such work
  uint64_t working_ = 0;                                      // pieces of it that are not done
};

Failure first_failure_of(const Evaluation& out) {
  if (const std::string* set = unmeasured_set(out.result)) return first_failure(out.rollouts, *set);
  const auto failed = std::ranges::find_if(
      out.rollouts, [](const TracedRollout& t) { return t.rollout.failure.failed(); });
  return failed == out.rollouts.end() ? Failure{} : failed->rollout.failure;
}

// What training would make of the rollouts' values, all of them being one batch.
void add_advantages(Evaluation& out, const SampleGroupOptions& options) {
  std::vector<TracedGroup> groups;
  for (TracedRollout& traced : out.rollouts) {
    const GroupKey key = traced.rollout.key;
    if (groups.empty() || groups.back().rollouts.front().rollout.key != key)
      groups.emplace_back().rewarded = true;
    groups.back().rollouts.push_back(std::move(traced));
  }
  for (TracedGroup& group : groups) tracewise::add_advantages(group, options);
  finish_groups(groups, options.advantage);
  out.rollouts.clear();
  for (TracedGroup& group : groups) {
    std::ranges::move(group.rollouts, std::back_inserter(out.rollouts));
    std::ranges::move(group.advantages, std::back_inserter(out.advantages));
  }
}

Result<void> check_options(const Config& config, std::span<const EvalSet> sets,
                           const EvaluateOptions& options) {
  if (sets.empty()) return bad_input("there are no prompts to evaluate on");
  TW_TRY(check(sets));
  if (options.probe && config.probe.mode == ProbeMode::kNone) {
    return bad_input(
        "values were asked for, but probe.mode is none; choose likelihood, answer or verbal");
  }
  return {};
}

}  // namespace

Result<Evaluation> evaluate(const Config& config, const ModelFolder& model,
                            std::span<const EvalSet> sets, const EvaluateOptions& options,
                            std::stop_token stop,
                            const std::function<void(const EvaluateProgress&)>& report) {
  TW_TRY(check_options(config, sets, options));
  TW_ASSIGN(const auto pass_at, pass_at_of(config.run.eval.pass_at, sets));
  const auto start = std::chrono::steady_clock::now();
  const auto seconds = [&] { return Seconds(std::chrono::steady_clock::now() - start).count(); };
  uint64_t prompts = 0, rollouts = 0;
  for (const EvalSet& set : sets) {
    prompts += set.prompts.size();
    rollouts += set.prompts.size() * set.samples;
  }
  const auto workers =
      static_cast<uint32_t>(std::min<uint64_t>(config.run.generators, std::min(prompts, 1024ul)));
  const uint64_t share = (rollouts + workers - 1) / workers;
  const uint64_t window = std::min<uint64_t>(share, config.run.window_samples);
  Work work(sets, config.run.eval.sampling, model.weights->version(), workers, options.probe);
  {
    std::vector<std::jthread> threads;
    for (uint32_t w = 0; w < workers; ++w) {
      threads.emplace_back([&] {
        try {
          work.leave(Worker(work, stop, window).run(config, model));
        } catch (const std::exception& e) {
          work.leave(Error{ErrorClass::kInternal, std::string("evaluating failed: ") + e.what()});
        }
      });
    }
    while (!work.wait(report ? config.run.progress_seconds : 0)) report(work.progress(seconds()));
  }
  if (work.error()) return *work.error();
  Evaluation out;
  out.rollouts = work.take();
  out.result = measure(out.rollouts, sets, pass_at);
  out.result.version = model.weights->version();
  out.result.wall_seconds = seconds();
  out.stats = group_stats(out.rollouts);
  out.unprobed = work.unprobed();
  out.first_failure = first_failure_of(out);
  if (!options.keep_rollouts) out.rollouts.clear();
  if (options.probe) add_advantages(out, config.group);
  return out;
}

}  // namespace tracewise
