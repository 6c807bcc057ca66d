#include "rollout/tracer.hpp"

#include <algorithm>

#include "messages/check.hpp"
#include "model/tokenizer.hpp"

namespace tracewise {
namespace {

void release(Rollout& rollout, Tracer::Output& out) {
  if (rollout.lease == 0) return;
  out.releases.emplace_back(rollout.route.generator, rollout.lease);
  rollout.lease = 0;  // nobody downstream may use it
}

}  // namespace

TracedRollout trace_response(Rollout rollout, const StepOptions& steps, const Verifier& verifier,
                             const Shaping& shaping, const Tokenizer& tokenizer) {
  TracedRollout traced;
  traced.step_ends = split_steps(rollout.tokens, tokenizer, steps).ends;
  if (!rollout.failure.failed()) {
    const std::string text = response_text(rollout.tokens, tokenizer);
    Verdict verdict = verifier.verify(rollout.prompt, text, rollout.finish);
    traced.reward = verdict.failure.failed() ? 0.0f : verdict.reward;
    rollout.failure = std::move(verdict.failure);
    if (rollout.purpose == Purpose::kTrain && !rollout.failure.failed()) {
      Shaped shaped = shaping.of(rollout.prompt, rollout.tokens, text, rollout.finish);
      traced.shaping = shaped.failure.failed() ? 0.0f : shaped.sum;
      rollout.failure = std::move(shaped.failure);
    }
  }
  traced.rollout = std::move(rollout);
  return traced;
}

Result<std::unique_ptr<Tracer>> Tracer::make(TracerOptions options, const Tokenizer& tokenizer) {
  TW_ASSIGN(auto verifier, make_verifier(options.verifier));
  TW_ASSIGN(Shaping shaping, Shaping::make(options.reward_terms));
  auto tracer = std::unique_ptr<Tracer>(
      new Tracer(std::move(options), tokenizer, std::move(verifier), std::move(shaping)));
  TW_ASSIGN(ValueProbe probe,
            ValueProbe::make(tracer->options_.probe, tokenizer, *tracer->verifier_));
  tracer->probe_ = std::make_unique<ValueProbe>(std::move(probe));
  return tracer;
}

CallLimits Tracer::limits() const {
  const CallLimits verdict = verifier_->limits(), shaping = shaping_.limits();
  return {std::max(verdict.calls, shaping.calls), verdict.longest + shaping.longest};
}

void Tracer::abort() {
  verifier_->abort();
  shaping_.abort();
}

bool Tracer::waits_for_group(const Rollout& rollout) const {
  return probe_->probes() && rollout.purpose != Purpose::kEval;
}

Tracer::Output Tracer::on_rollout(Rollout rollout) {
  Output out;
  const GroupKey key = rollout.key;
  if (!waits_for_group(rollout)) {
    release(rollout, out);
  } else if (!groups_[key].arrived.insert(rollout.sample).second) {
    release(rollout, out);
    return out;
  }
  if (!limits().wait()) {
    settle(verified(std::move(rollout)), out);
    return out;
  }
  const uint32_t sample = rollout.sample;
  // Only what never changes is read in the other thread.
  out.work.push_back({key, sample, [this, rollout = std::move(rollout)]() mutable {
                        TracedRollout traced = verified(std::move(rollout));
                        return [traced = std::move(traced)](Tracer& tracer) mutable {
                          Output settled;
                          tracer.settle(std::move(traced), settled);
                          return settled;
                        };
                      }});
  return out;
}

// The verdict is there: hands the rollout on, or lets it wait for its group.
void Tracer::settle(TracedRollout traced, Output& out) {
  if (!waits_for_group(traced.rollout)) {
    out.traced.push_back(std::move(traced));
    return;
  }
  const GroupKey key = traced.rollout.key;
  const auto found = groups_.find(key);
  if (found == groups_.end()) {  // dropped meanwhile
    release(traced.rollout, out);
    return;
  }
  Group& group = found->second;
  if (options_.max_context > 0)
    probe_->leave_room(traced.rollout.prompt, options_.max_context, traced.step_ends);
  if (traced.rollout.failure.failed()) release(traced.rollout, out);
  const uint32_t sample = traced.rollout.sample;
  const uint32_t samples = traced.rollout.group_samples;
  group.rollouts.emplace(sample, Waiting{std::move(traced), false});
  if (++group.verified >= samples) decide(key, group, out);
}

TracedRollout Tracer::verified(Rollout rollout) const {
  return trace_response(std::move(rollout), options_.steps, *verifier_, shaping_, *tokenizer_);
}

// The whole group is there: asks for the values of its good rollouts, or lets them go without.
void Tracer::decide(const GroupKey& key, Group& group, Output& out) {
  bool probe = true;
  if (options_.worth_probing) {
    std::vector<TracedRollout> good;
    for (const auto& [sample, waiting] : group.rollouts) {
      if (!waiting.traced.rollout.failure.failed()) good.push_back(waiting.traced);
    }
    probe = !good.empty() && options_.worth_probing(good);
  }
  std::vector<uint32_t> leaving;
  for (auto& [sample, waiting] : group.rollouts) {
    const bool failed = waiting.traced.rollout.failure.failed();
    if (probe && !failed && !waiting.traced.step_ends.empty()) request_probe(waiting, out);
    if (!waiting.probing) leaving.push_back(sample);
  }
  for (const uint32_t sample : leaving) leave(key, sample, out);
}

void Tracer::request_probe(Waiting& waiting, Output& out) {
  Rollout& rollout = waiting.traced.rollout;
  auto request = probe_->request(rollout.prompt, waiting.traced.step_ends);
  if (!request.ok()) {
    rollout.failure = {FailureClass::kProbe, request.error().message};
    return;
  }
  request->key = rollout.key;
  request->sample = rollout.sample;
  request->lease = rollout.lease;
  request->tracer = rollout.route.tracer;
  out.probes.emplace_back(rollout.route.generator, std::move(*request));
  waiting.probing = true;
}

// Hands a rollout on, with its lease given back; a group whose last rollout leaves is forgotten.
void Tracer::leave(const GroupKey& key, uint32_t sample, Output& out) {
  Group& group = groups_.at(key);
  auto node = group.rollouts.extract(sample);
  TW_CHECK(!node.empty(), "a rollout left twice");
  release(node.mapped().traced.rollout, out);
  out.traced.push_back(std::move(node.mapped().traced));
  if (group.rollouts.empty()) groups_.erase(key);
}

Tracer::Waiting* Tracer::find_probing(const GroupKey& key, uint32_t sample) {
  const auto group = groups_.find(key);
  if (group == groups_.end()) return nullptr;
  const auto it = group->second.rollouts.find(sample);
  if (it == group->second.rollouts.end() || !it->second.probing) return nullptr;
  return &it->second;
}

Tracer::Output Tracer::on_probe_result(ProbeResult result) {
  Output out;
  Waiting* waiting = find_probing(result.key, result.sample);
  if (waiting == nullptr) return out;
  TracedRollout& traced = waiting->traced;
  traced.probe_tokens = result.probe_tokens;
  traced.probe_seconds = result.probe_seconds;
  const auto& versions = traced.rollout.versions;
  traced.probed_by_other_weights = !versions.empty() && result.version != versions.back();
  const GroupKey key = result.key;
  const uint32_t sample = result.sample;
  auto read = [this, prompt = traced.rollout.prompt, boundaries = traced.step_ends.size(),
               result = std::move(result)] { return probe_->read(prompt, result, boundaries); };
  if (!probe_->verifies() || !verifier_->limits().wait()) return on_values(key, sample, read());
  out.work.push_back({key, sample, [key, sample, read = std::move(read)] {
                        return [key, sample, values = read()](Tracer& tracer) mutable {
                          return tracer.on_values(key, sample, std::move(values));
                        };
                      }});
  return out;
}

Tracer::Output Tracer::on_values(const GroupKey& key, uint32_t sample, ValueProbe::Values values) {
  Output out;
  Waiting* waiting = find_probing(key, sample);
  if (waiting == nullptr) return out;
  waiting->traced.values = std::move(values.values);
  waiting->traced.rollout.failure = std::move(values.failure);
  leave(key, sample, out);
  return out;
}

Tracer::Output Tracer::on_probe_failed(GroupKey key, uint32_t sample, Failure failure) {
  Output out;
  Waiting* waiting = find_probing(key, sample);
  if (waiting == nullptr) return out;
  if (!failure.failed()) failure.failure_class = FailureClass::kProbe;
  waiting->traced.rollout.failure = std::move(failure);
  leave(key, sample, out);
  return out;
}

Tracer::Output Tracer::drop(GroupKey key) {
  Output out;
  auto node = groups_.extract(key);
  if (node.empty()) return out;
  for (auto& [sample, waiting] : node.mapped().rollouts) release(waiting.traced.rollout, out);
  return out;
}

TracerSizes Tracer::sizes() const {
  TracerSizes sizes;
  sizes.open_groups = groups_.size();
  for (const auto& [key, group] : groups_) {
    for (const auto& [sample, waiting] : group.rollouts) {
      ++(waiting.probing ? sizes.probing_rollouts : sizes.waiting_rollouts);
    }
  }
  return sizes;
}

}  // namespace tracewise
