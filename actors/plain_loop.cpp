#include "actors/plain_loop.hpp"

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "actors/admission.hpp"
#include "actors/prompt_order.hpp"
#include "actors/train_step.hpp"

namespace tracewise {
namespace {

class PlainLoop {
 public:
  PlainLoop(const RunOptions& options, const RunParts& parts, std::filesystem::path dump_dir)
      : options_(options),
        parts_(parts),
        dump_dir_(std::move(dump_dir)),
        order_(parts.prompts.size(), options.seed, options.shuffle),
        assembler_(parts.group_options) {}

  Result<void> open() {
    TW_ASSIGN(engine_, parts_.make_engine(0));
    TW_ASSIGN(tracer_, parts_.make_tracer());
    TW_ASSIGN(trainer_, parts_.make_trainer());
    result_.weights = trainer_->weights(0, allocate_weights);
    return engine_->set_weights(result_.weights);
  }

  Result<PlainLoopResult> run() {
    const Clock::time_point begun = Clock::now();
    while (!finished()) {
      TW_ASSIGN(std::vector<SampleGroup> batch, make_batch());
      count(batch);
      TW_ASSIGN(
          const TrainReport report,
          train_batch(*trainer_, std::move(batch), parts_.group_options.advantage, result_.steps,
                      run_progress(options_, result_.steps, result_.seconds), dump_dir_));
      result_.weights = trainer_->weights(++result_.steps, allocate_weights);
      TW_TRY(engine_->set_weights(result_.weights));
      result_.seconds = std::chrono::duration<double>(Clock::now() - begun).count();
    }
    return std::move(result_);
  }

 private:
  bool finished() const {
    return (options_.steps > 0 && result_.steps >= options_.steps) ||
           (options_.budget_seconds > 0 && result_.seconds >= options_.budget_seconds);
  }

  void submit(GroupKey key) {
    GroupTask task;
    task.key = key;
    task.issue_version = result_.steps;
    task.samples = options_.group_size;
    task.sampling = options_.sampling;
    task.prompt = parts_.prompts[order_.index(key.group)];
    engine_->submit(std::move(task));
  }

  Result<std::vector<SampleGroup>> make_batch() {
    for (uint64_t i = 0; i < options_.groups_per_batch; ++i) submit({next_group_++, 0});
    uint64_t refilled = 0;
    while (true) {
      const auto without_signal = static_cast<uint64_t>(
          std::ranges::count_if(built_, [](const auto& g) { return g.second.rollouts.empty(); }));
      if (is_batch(built_.size(), built_.size() - without_signal, options_.groups_per_batch,
                   options_.max_refilled_groups))
        break;
      for (; refilled < std::min(without_signal, options_.max_refilled_groups); ++refilled)
        submit({next_group_++, 0});
      EngineOutput output = engine_->step(Clock::now());
      for (Rollout& rollout : output.rollouts) {
        TW_TRY(act_on(tracer_->on_rollout(std::move(rollout))));
      }
      for (ProbeResult& result : output.probes) {
        TW_TRY(act_on(tracer_->on_probe_result(std::move(result))));
      }
    }
    if (given_up_ == built_.size()) {
      return Error{ErrorClass::kInternal, "every group of step " +
                                              std::to_string(result_.steps + 1) +
                                              " failed: " + last_failure_.message};
    }
    std::vector<SampleGroup> batch;
    for (auto& [id, group] : built_) batch.push_back(std::move(group));
    built_.clear();
    return batch;
  }

  Result<void> act_on(Tracer::Output output) {
    for (auto& [generator, probe] : output.probes) engine_->probe(std::move(probe));
    for (const auto& [generator, lease] : output.releases) engine_->release(lease);
    for (auto& work : output.work) TW_TRY(act_on(work.run()(*tracer_)));
    for (TracedRollout& traced : output.traced) {
      std::optional<BuiltGroup> built = assembler_.put(std::move(traced));
      if (!built) continue;
      if (auto* failed = std::get_if<GroupFailed>(&*built)) {
        TW_TRY(retry(*failed));
      } else {
        SampleGroup& group = std::get<SampleGroup>(*built);
        const uint64_t id = group.key.group;
        built_.emplace(id, std::move(group));
      }
    }
    return {};
  }

  Result<void> retry(const GroupFailed& failed) {
    const GroupKey key = failed.key;
    if (key.attempt + 1 < options_.max_attempts) {
      submit({key.group, key.attempt + 1});
      return {};
    }
    ++given_up_;
    last_failure_ = failed.failure;
    SampleGroup empty{key, result_.steps, {}, {}, {}};
    empty.stats.failures = options_.group_size;
    built_.emplace(key.group, std::move(empty));
    return {};
  }

  void count(const std::vector<SampleGroup>& batch) {
    given_up_ = 0;
    for (const SampleGroup& group : batch) {
      result_.rollouts += group.stats.rollouts;
      result_.response_tokens += group.stats.response_tokens;
    }
  }

  const RunOptions& options_;
  const RunParts& parts_;
  std::filesystem::path dump_dir_;
  PromptOrder order_;
  GroupAssembler assembler_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Tracer> tracer_;
  std::unique_ptr<Trainer> trainer_;
  std::map<uint64_t, SampleGroup> built_;  // of the step, by group
  uint64_t next_group_ = 0;
  uint64_t given_up_ = 0;  // groups of the step without attempts left
  Failure last_failure_;   // of one of these
  PlainLoopResult result_;
};

}  // namespace

Result<PlainLoopResult> run_plain_loop(const RunOptions& options, const RunParts& parts,
                                       const std::filesystem::path& dump_dir) {
  TW_TRY(check(options));
  if (parts.prompts.empty()) return bad_input("the training set has no prompts");
  if (options.max_staleness > 0) {
    return unsupported("the plain loop trains synchronously; max_staleness = " +
                       std::to_string(options.max_staleness) + " has to be 0");
  }
  PlainLoop loop(options, parts, dump_dir);
  TW_TRY(loop.open());
  return loop.run();
}

}  // namespace tracewise
