#include "rollout/engine.hpp"

#include <algorithm>

#include "model/tokenizer.hpp"
#include "rollout/engine_work.hpp"
#include "rollout/forward_pass.hpp"
#include "rollout/random.hpp"
#include "rollout/sampler.hpp"
#include "rollout/scheduler.hpp"
#include "rollout/swap_clock.hpp"

namespace tracewise {
namespace {

class PagedEngine final : public Engine {
 public:
  PagedEngine(const EngineOptions& options, int64_t max_context, const Tokenizer* tokenizer,
              std::unique_ptr<ForwardPass> forward)
      : options_(options),
        max_context_(max_context),
        forward_(std::move(forward)),
        scheduler_(options.kv_blocks, options.block_tokens, options.max_sequences,
                   options.max_batch_tokens),
        tokenizer_(tokenizer) {}

  void submit(GroupTask task) override {
    const auto prompt = static_cast<int64_t>(task.prompt.tokens.size());
    if (prompt < 1 || prompt >= max_context_) {
      const Failure failure{FailureClass::kPromptTooLong,
                            "a prompt of " + std::to_string(prompt) +
                                " tokens leaves no room in the model's context of " +
                                std::to_string(max_context_)};
      for (uint32_t s = 0; s < task.samples; ++s)
        ready_.rollouts.push_back(failed_rollout(task, s, failure));
      return;
    }
    auto sequence = std::make_unique<Sequence>();
    sequence->kind = Sequence::Kind::kPrompt;
    sequence->tokens = task.prompt.tokens;
    sequence->prompt_tokens = prompt;
    sequence->group = std::make_shared<GroupWork>();
    sequence->group->task = std::move(task);
    scheduler_.add(std::move(sequence));
  }

  void probe(ProbeRequest request) override {
    auto work = std::make_shared<ProbeWork>();
    work->request = std::move(request);
    ProbeResult& result = work->result;
    result.key = work->request.key;
    result.tracer = work->request.tracer;
    result.sample = work->request.sample;
    result.lease = work->request.lease;
    result.version = version_;
    const Lease* lease = scheduler_.find_lease(work->request.lease);
    result.failure =
        lease == nullptr
            ? Failure{FailureClass::kProbe,
                      "lease " + std::to_string(work->request.lease) + " is not known here"}
            : check_probe(work->request, static_cast<int64_t>(lease->tokens.size()), max_context_);
    if (result.failure.failed()) {
      ready_.probes.push_back(std::move(result));
      return;
    }
    const size_t boundaries = work->request.prefix_ends.size();
    if (work->request.kind == ProbeKind::kScore) {
      result.target_logprobs.resize(boundaries * work->request.target_tokens.size());
    } else {
      result.continuations.resize(boundaries * work->request.continuations);
    }
    begin_probe(work, *lease, 0);
  }

  uint64_t adopt(std::vector<int32_t> tokens) override {
    return scheduler_.adopt(std::move(tokens));
  }

  void release(uint64_t lease) override { scheduler_.release(lease); }

  void cancel(GroupKey key) override { cancelled_.push_back(key); }

  Result<void> prepare(const WeightsPtr& weights) override { return forward_->prepare(weights); }

  Result<void> set_weights(WeightsPtr weights) override {
    TW_TRY(forward_->check(*weights));
    swap_clock_.arrived(Clock::now());
    next_weights_ = std::move(weights);
    scheduler_.hold_starts(options_.on_new_weights == OnNewWeights::kFinishFirst);
    swap_if_due();
    return {};
  }

  EngineOutput step(Clock::time_point now) override {
    now_ = now;
    scheduler_.expire(now);
    end_cancelled();
    swap_if_due();
    Pass pass = scheduler_.plan();
    for (auto& sequence : pass.failed) fail(*sequence);
    ready_.idle = pass.items.empty();
    if (!pass.items.empty()) {
      run(pass);
    } else if (!scheduler_.has_work()) {
      swap_clock_.rested();
    }
    return std::exchange(ready_, {});
  }

  EngineStats stats() const override {
    EngineStats stats = stats_;
    scheduler_.fill(stats);
    swap_clock_.fill(stats);
    return stats;
  }

 private:
  void swap_if_due() {
    const OnNewWeights mode = options_.on_new_weights;
    if (!next_weights_) return;
    if (mode == OnNewWeights::kFinishFirst && scheduler_.under_way()) return;
    const bool work = scheduler_.has_work();
    forward_->set_weights(next_weights_);
    version_ = std::exchange(next_weights_, nullptr)->version();
    scheduler_.hold_starts(false);
    recomputing_ = mode == OnNewWeights::kRecomputeCache && scheduler_.decoding();
    // A rollout whose prompt is of two versions would have no policy from its first token on.
    const int64_t forgotten =
        mode == OnNewWeights::kRecomputeCache ? begin_anew() : scheduler_.forget_partial_prompts();
    stats_.recomputed_tokens += static_cast<uint64_t>(forgotten);
    swap_clock_.swapped(Clock::now(), work);
  }

  // Nothing that the old weights computed is left, and every probe is answered by one version.
  int64_t begin_anew() {
    const auto probes = scheduler_.take_probes();
    const int64_t forgotten = scheduler_.forget_cache();
    for (const auto& work : probes) {
      work->unfinished = 0;
      for (auto& continuation : work->result.continuations) continuation.clear();
      if (const Lease* lease = scheduler_.find_lease(work->request.lease)) {
        begin_probe(work, *lease, 0);
      } else {
        work->result.failure = {FailureClass::kProbe, "its lease was released before its answer"};
        ready_.probes.push_back(std::move(work->result));
      }
    }
    return forgotten;
  }

  // `age`: of the sequence whose work this goes on with; 0: it queues anew.
  void begin_probe(const std::shared_ptr<ProbeWork>& work, const Lease& lease, uint64_t age) {
    for (auto& sequence : probe_sequences(work, lease, scheduler_)) {
      ++work->unfinished;
      sequence->age = age;
      scheduler_.add(std::move(sequence));
    }
  }

  // A probe's prefix is cached: its boundaries fork from it.
  void fork_boundaries(Sequence& prefix) {
    const Lease cached{prefix.tokens, prefix.cached, prefix.blocks, {}};
    begin_probe(prefix.probe, cached, prefix.age);
    finish_probe_part(prefix);
  }

  void run(const Pass& pass) {
    const auto start = Clock::now();
    const std::vector<WantedRow> wanted = wanted_rows(pass);
    const bool resumes = !recomputing_ || std::ranges::any_of(wanted, [](const WantedRow& row) {
      return row.sequence->kind == Sequence::Kind::kSample;
    });
    const Distributions distributions = forward_->run(pass, wanted);
    std::vector<Sequence*> prefixes;
    for (const PassItem& item : pass.items) {
      item.sequence->cached += item.tokens;
      if (item.sequence->kind == Sequence::Kind::kPrefix && item.sequence->pending() == 0)
        prefixes.push_back(item.sequence);
      if (item.sequence->probe) {
        item.sequence->probe->result.probe_tokens += static_cast<uint64_t>(item.tokens);
        stats_.probe_tokens += static_cast<uint64_t>(item.tokens);
      } else if (item.tokens > 1 || item.sequence->kind == Sequence::Kind::kPrompt) {
        stats_.prefilled_tokens += static_cast<uint64_t>(item.tokens);
      }
    }
    share_time(pass, std::chrono::duration<double>(Clock::now() - start).count());
    for (size_t r = 0; r < wanted.size(); ++r) use_row(wanted[r], distributions, r);
    for (Sequence* prefix : prefixes) fork_boundaries(*prefix);
    const auto end = Clock::now();
    stats_.step_seconds += std::chrono::duration<double>(end - start).count();
    ++stats_.steps;
    if (resumes) recomputing_ = false;
    swap_clock_.stepped(start, end, resumes, scheduler_.has_work());
  }

  // Every token of a pass costs the same share of its time.
  void share_time(const Pass& pass, double seconds) {
    for (const PassItem& item : pass.items) {
      const double share =
          seconds * static_cast<double>(item.tokens) / static_cast<double>(pass.tokens);
      item.sequence->seconds += share;
      if (item.sequence->probe) {
        item.sequence->probe->result.probe_seconds += share;
        stats_.probe_seconds += share;
      }
    }
  }

  void use_row(const WantedRow& wanted, const Distributions& distributions, size_t row) {
    Sequence& s = *wanted.sequence;
    switch (s.kind) {
      case Sequence::Kind::kScore: {
        const auto& targets = s.probe->request.target_tokens;
        s.probe->result.target_logprobs[s.sample * targets.size() + wanted.target] =
            distributions.policy(row)[targets[wanted.target]];
        if (wanted.target + 1 == static_cast<int64_t>(targets.size())) finish_probe_part(s);
        return;
      }
      case Sequence::Kind::kPrefix:
        return;  // wants no rows
      case Sequence::Kind::kPrompt:
      case Sequence::Kind::kProbePrompt: {
        const bool probing = s.kind == Sequence::Kind::kProbePrompt;
        const uint32_t children = probing ? s.probe->request.continuations : s.group->task.samples;
        if (probing) s.probe->unfinished += children;
        for (uint32_t c = 0; c < children; ++c)
          draw(*scheduler_.add(forked(s, c, children)), distributions, row);
        if (probing) {
          finish_probe_part(s);
        } else {
          scheduler_.remove(&s);
        }
        return;
      }
      case Sequence::Kind::kSample:
      case Sequence::Kind::kContinuation:
        draw(s, distributions, row);
    }
  }

  // Child `c` of a cached prompt: the same tokens and blocks, and its own draws from here on.
  std::unique_ptr<Sequence> forked(const Sequence& parent, uint32_t c, uint32_t children) {
    auto child = std::make_unique<Sequence>();
    const bool probing = parent.kind == Sequence::Kind::kProbePrompt;
    child->kind = probing ? Sequence::Kind::kContinuation : Sequence::Kind::kSample;
    child->age = parent.age;
    child->tokens = parent.tokens;
    child->cached = parent.cached;
    child->prompt_tokens = parent.prompt_tokens;
    child->blocks = scheduler_.fork(parent.blocks, parent.cached);
    child->seconds = parent.seconds / children;
    child->group = parent.group;
    child->probe = parent.probe;
    child->sample = probing ? parent.sample : c;
    child->continuation = probing ? c : 0;
    return child;
  }

  void draw(Sequence& s, const Distributions& distributions, size_t row) {
    DrawKey key;
    key.position = static_cast<uint32_t>(s.tokens.size());
    if (s.probe) {
      key.group = s.probe->request.key.group;
      key.sample = s.probe->request.sample;
      key.probe = 1 + s.sample * s.probe->request.continuations + s.continuation;
    } else {
      key.group = s.group->task.key.group;
      key.sample = s.sample;
    }
    const Draw drawn =
        draw_token(distributions.sampled(row), sampling_of(s), uniform(options_.seed, key));
    s.tokens.push_back(drawn.token);
    s.logprobs.push_back(drawn.logprob);
    s.policy_logprobs.push_back(distributions.policy(row)[drawn.token]);
    s.versions.push_back(version_);
    ++stats_.sampled_tokens;
    if (s.group && options_.stream)
      ready_.tokens.push_back({s.group->task.key, s.sample, drawn.token});
    end_if_finished(s);
  }

  void end_if_finished(Sequence& s) {
    const auto length = static_cast<int64_t>(s.tokens.size());
    const auto& stops = options_.stop_tokens;
    const bool stopped = std::find(stops.begin(), stops.end(), s.tokens.back()) != stops.end() ||
                         completes_stop_string(s, options_.stop_strings, tokenizer_);
    const bool full =
        length - s.prompt_tokens >= sampling_of(s).max_new_tokens || length >= max_context_;
    if (!stopped && !full) return;
    if (s.probe) {
      const ProbeRequest& request = s.probe->request;
      s.probe->result.continuations[s.sample * request.continuations + s.continuation].assign(
          s.tokens.begin() + s.prompt_tokens, s.tokens.end());
      finish_probe_part(s);
      return;
    }
    Rollout rollout = finished_rollout(s, stopped ? FinishReason::kStop : FinishReason::kLength);
    rollout.lease = scheduler_.lease(&s, now_ + std::chrono::milliseconds(options_.lease_ms));
    ready_.rollouts.push_back(std::move(rollout));
  }

  void finish_probe_part(Sequence& s) {
    const std::shared_ptr<ProbeWork> work = s.probe;
    scheduler_.remove(&s);
    if (--work->unfinished == 0) {
      work->result.version = version_;
      ready_.probes.push_back(std::move(work->result));
    }
  }

  // A sequence that can never fit the cache.
  void fail(Sequence& s) {
    const std::string message = std::to_string(s.tokens.size()) +
                                " tokens do not fit the cache of " +
                                std::to_string(options_.kv_blocks) + " blocks";
    if (s.probe) {
      s.probe->result.failure = {FailureClass::kProbe, message};
      if (--s.probe->unfinished == 0) ready_.probes.push_back(std::move(s.probe->result));
      return;
    }
    give_up(s, {FailureClass::kEngine, message});
  }

  void end_cancelled() {
    for (const GroupKey& key : std::exchange(cancelled_, {})) {
      for (Sequence* s : scheduler_.sequences_of(key)) {
        const auto removed = scheduler_.remove(s);
        give_up(*removed, {FailureClass::kCancelled, "the group was cancelled"});
      }
    }
  }

  // Hands out the failed rollouts that end with this sequence: all samples where it is the prompt.
  void give_up(const Sequence& s, const Failure& failure) {
    const GroupTask& task = s.group->task;
    const bool whole_group = s.kind == Sequence::Kind::kPrompt;
    const uint32_t first = whole_group ? 0 : s.sample;
    const uint32_t end = whole_group ? task.samples : s.sample + 1;
    for (uint32_t c = first; c < end; ++c)
      ready_.rollouts.push_back(failed_rollout(task, c, failure));
  }

  EngineOptions options_;
  int64_t max_context_;
  std::unique_ptr<ForwardPass> forward_;
  Scheduler scheduler_;
  const Tokenizer* tokenizer_;
  uint64_t version_ = 0;
  WeightsPtr next_weights_;   // wait for their swap
  bool recomputing_ = false;  // since a swap no rollout has gone on yet
  SwapClock swap_clock_;
  Clock::time_point now_;
  std::vector<GroupKey> cancelled_;
  EngineOutput ready_;  // handed out by the next step()
  EngineStats stats_;
};

}  // namespace

Result<std::unique_ptr<Engine>> make_engine(const EngineOptions& options, const ModelConfig& model,
                                            WeightsPtr weights, const Tokenizer* tokenizer) {
  TW_TRY(check_engine_options(options, tokenizer != nullptr));
  const EngineOptions all = sized(options, model);
  TW_ASSIGN(auto forward, make_forward_pass(all, model));
  auto engine =
      std::make_unique<PagedEngine>(all, model.max_context, tokenizer, std::move(forward));
  TW_TRY(engine->set_weights(std::move(weights)));
  return std::unique_ptr<Engine>(std::move(engine));
}

}  // namespace tracewise
