#include "launch/tracing.hpp"

#include <algorithm>
#include <string>

#include "launch/parts.hpp"
#include "learner/sample_group.hpp"
#include "rollout/answer_text.hpp"

namespace tracewise {
namespace {

bool has_gold(const Prompt& prompt) { return !trimmed(prompt.gold).empty(); }

std::vector<int64_t> step_tokens(const TracedRollout& traced) {
  std::vector<int64_t> tokens;
  int32_t begin = 0;
  for (const int32_t end : traced.step_ends) {
    tokens.push_back(end - begin);
    begin = end;
  }
  return tokens;
}

}  // namespace

Result<std::vector<Completion>> load_completions(const std::filesystem::path& file,
                                                 const Config& config, const ModelFolder& model) {
  DatasetOptions prompt_options = config.data;
  prompt_options.path = file;
  prompt_options.drop = DropRows::kNone;
  prompt_options.id_column.clear();  // completions of one prompt may share its id
  prompt_options.require_answer = config.probe.mode != ProbeMode::kVerbal;
  TW_ASSIGN(auto prompts, load_prompts(prompt_options, model));

  SupervisedOptions response_options;
  response_options.path = file;
  response_options.response_column = config.sft.data.response_column;
  const int32_t eos = model.config.eos_tokens.empty() ? -1 : model.config.eos_tokens.front();
  TW_ASSIGN(auto responses, load_responses(response_options, *model.tokenizer, eos));

  if (responses.size() != prompts.size())
    return io_error(file.string() + " changed while it was being read");
  std::vector<Completion> completions(responses.size());
  for (size_t i = 0; i < responses.size(); ++i) {
    const size_t tokens = prompts[i].tokens.size() + responses[i].size();
    if (tokens > static_cast<size_t>(model.config.max_context)) {
      return bad_input(file.string() + ": row " + std::to_string(i + 1) +
                       ": prompt and response have " + std::to_string(tokens) +
                       " tokens, but the context is " + std::to_string(model.config.max_context));
    }
    completions[i] = {std::move(prompts[i]), std::move(responses[i])};
  }
  return completions;
}

Result<std::unique_ptr<GroupTracer>> GroupTracer::make(const Config& config,
                                                       const ModelFolder& model) {
  if (config.probe.mode == ProbeMode::kNone) {
    return bad_input(
        "probe.mode is none, but a trace needs values; set it to likelihood, answer "
        "or verbal");
  }
  if (config.group.shuffle_values)
    return bad_input("advantage.shuffle_values is a control of training runs; unset it");
  TW_ASSIGN(auto verifier, make_verifier(config.verifier));
  TW_ASSIGN(Shaping shaping, Shaping::make(config.reward_terms));
  auto tracer = std::unique_ptr<GroupTracer>(
      new GroupTracer(config, model, std::move(verifier), std::move(shaping)));
  TW_ASSIGN(ValueProbe probe, ValueProbe::make(config.probe, *model.tokenizer, *tracer->verifier_));
  tracer->probe_ = std::make_unique<ValueProbe>(std::move(probe));
  TW_ASSIGN(tracer->engine_, make_engine(engine_options(config, model.config), model.config,
                                         model.weights, model.tokenizer.get()));
  return tracer;
}

Result<TracedGroup> GroupTracer::sample(const Prompt& prompt, uint32_t samples,
                                        std::stop_token stop) {
  GroupTask task;
  task.issue_version = model_.weights->version();
  task.samples = samples;
  task.sampling = config_.run.sampling;
  task.prompt = prompt;
  engine_->submit(std::move(task));
  std::vector<Rollout> rollouts;
  while (rollouts.size() < samples) {
    TW_ASSIGN(EngineOutput out, step(stop));
    std::ranges::move(out.rollouts, std::back_inserter(rollouts));
  }
  std::ranges::sort(rollouts, {}, &Rollout::sample);
  return trace(std::move(rollouts), std::move(stop));
}

Result<TracedGroup> GroupTracer::adopt(std::span<const Completion> completions, uint64_t group,
                                       std::stop_token stop) {
  std::vector<Rollout> rollouts;
  for (const Completion& completion : completions) {
    Rollout rollout;
    rollout.key.group = group;
    rollout.sample = static_cast<uint32_t>(rollouts.size());
    rollout.group_samples = static_cast<uint32_t>(completions.size());
    rollout.prompt = completion.prompt;
    rollout.tokens = completion.response;
    std::vector<int32_t> tokens = completion.prompt.tokens;
    tokens.insert(tokens.end(), completion.response.begin(), completion.response.end());
    rollout.lease = engine_->adopt(std::move(tokens));
    rollouts.push_back(std::move(rollout));
  }
  return trace(std::move(rollouts), std::move(stop));
}

Result<TracedGroup> GroupTracer::trace(std::vector<Rollout> rollouts, std::stop_token stop) {
  TW_CHECK(!rollouts.empty(), "a group has rollouts");
  TracedGroup group;
  group.rewarded = has_gold(rollouts.front().prompt);
  for (Rollout& rollout : rollouts) group.rollouts.push_back(ask(std::move(rollout)));
  TW_TRY(answer(group.rollouts, stop));
  for (const TracedRollout& traced : group.rollouts) engine_->release(traced.rollout.lease);
  add_advantages(group, config_.group);
  return group;
}

// Splits and verifies a rollout and asks the engine for its values.
TracedRollout GroupTracer::ask(Rollout rollout) {
  TracedRollout traced;
  if (has_gold(rollout.prompt)) {
    traced =
        trace_response(std::move(rollout), config_.steps, *verifier_, shaping_, *model_.tokenizer);
  } else {
    traced.step_ends = split_steps(rollout.tokens, *model_.tokenizer, config_.steps).ends;
    traced.rollout = std::move(rollout);
  }
  if (traced.rollout.failure.failed() || traced.step_ends.empty()) return traced;
  probe_->leave_room(traced.rollout.prompt, model_.config.max_context, traced.step_ends);
  auto request = probe_->request(traced.rollout.prompt, traced.step_ends);
  if (!request.ok()) {
    traced.rollout.failure = {FailureClass::kProbe, request.error().message};
    return traced;
  }
  request->key = traced.rollout.key;
  request->sample = traced.rollout.sample;
  request->lease = traced.rollout.lease;
  engine_->probe(std::move(*request));
  ++asked_;
  return traced;
}

// Waits for the values that were asked for. rollouts[i] is sample i.
Result<void> GroupTracer::answer(std::vector<TracedRollout>& rollouts,
                                 const std::stop_token& stop) {
  while (asked_ > 0) {
    TW_ASSIGN(const EngineOutput out, step(stop));
    for (const ProbeResult& result : out.probes) {
      TracedRollout& traced = rollouts.at(result.sample);
      auto read = probe_->read(traced.rollout.prompt, result, traced.step_ends.size());
      traced.values = std::move(read.values);
      traced.rollout.failure = std::move(read.failure);
      traced.probe_tokens = result.probe_tokens;
      traced.probe_seconds = result.probe_seconds;
      --asked_;
    }
  }
  return {};
}

Result<EngineOutput> GroupTracer::step(const std::stop_token& stop) {
  if (stop.stop_requested()) return Error{ErrorClass::kCancelled, "the trace was stopped"};
  try {
    return engine_->step(Clock::now());
  } catch (const std::exception& e) {
    return Error{ErrorClass::kInternal, std::string("tracing failed: ") + e.what()};
  }
}

void add_advantages(TracedGroup& group, const SampleGroupOptions& options) {
  group.advantages.resize(group.rollouts.size());
  if (!group.rewarded) return;
  std::vector<size_t> good;
  std::vector<TracedRollout> good_rollouts;
  std::vector<StepRollout> steps;
  for (size_t i = 0; i < group.rollouts.size(); ++i) {
    const TracedRollout& traced = group.rollouts[i];
    const bool lacks =
        options.advantage.needs_values() && traced.values.size() != traced.step_ends.size();
    if (traced.rollout.failure.failed() || lacks) continue;
    good.push_back(i);
    good_rollouts.push_back(traced);
    steps.push_back({traced.reward,
                     {traced.values.begin(), traced.values.end()},
                     step_tokens(traced),
                     traced.shaping});
  }
  if (good.empty()) return;
  group.trained = carries_signal(good_rollouts, options);
  auto advantages = group_advantages(steps, options.advantage);
  for (size_t i = 0; i < good.size(); ++i) group.advantages[good[i]] = std::move(advantages[i]);
}

void finish_groups(std::span<TracedGroup> groups, const AdvantageOptions& options) {
  if (!options.whitens_batch()) return;
  BatchMoments moments;
  const auto for_each = [&](auto use) {
    for (TracedGroup& group : groups) {
      for (size_t i = 0; i < group.rollouts.size(); ++i) {
        const auto tokens = step_tokens(group.rollouts[i]);
        for (size_t k = 0; k < group.advantages[i].size(); ++k)
          use(group.advantages[i][k], tokens[k]);
      }
    }
  };
  for_each([&](double a, int64_t tokens) { moments.add(a, tokens); });
  for_each([&](double& a, int64_t) { a = moments.whiten(a); });
}

}  // namespace tracewise
