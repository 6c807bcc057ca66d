#include "rollout/engine_work.hpp"

#include <algorithm>

#include "model/tokenizer.hpp"

namespace tracewise {
namespace {

// How many of the first `prefix` tokens a boundary can take from a cache. Without probe tokens the
// prefix's own last token predicts: it is computed again.
int64_t reusable(const ProbeRequest& request, int64_t prefix) {
  return request.probe_tokens.empty() ? prefix - 1 : prefix;
}

std::unique_ptr<Sequence> boundary_sequence(const std::shared_ptr<ProbeWork>& work, size_t k,
                                            const Lease& lease, Scheduler& scheduler) {
  const ProbeRequest& request = work->request;
  const bool score = request.kind == ProbeKind::kScore;
  auto s = std::make_unique<Sequence>();
  s->kind = score ? Sequence::Kind::kScore : Sequence::Kind::kProbePrompt;
  s->probe = work;
  s->sample = static_cast<uint32_t>(k);
  const int64_t prefix = request.prefix_ends[k];
  s->tokens.assign(lease.tokens.begin(), lease.tokens.begin() + prefix);
  s->tokens.insert(s->tokens.end(), request.probe_tokens.begin(), request.probe_tokens.end());
  // The last target token is predicted, never read.
  if (score)
    s->tokens.insert(s->tokens.end(), request.target_tokens.begin(),
                     request.target_tokens.end() - 1);
  s->prompt_tokens = static_cast<int64_t>(s->tokens.size());
  s->cached = std::min(reusable(request, prefix), lease.cached);
  s->blocks = scheduler.fork(lease.blocks, s->cached);
  return s;
}

}  // namespace

Failure check_probe(const ProbeRequest& request, int64_t tokens, int64_t max_context) {
  const auto refuse = [](std::string message) {
    return Failure{FailureClass::kProbe, std::move(message)};
  };
  if (request.prefix_ends.empty()) return refuse("a probe without boundaries");
  int32_t before = 0;
  for (int32_t end : request.prefix_ends) {
    if (end <= before || end > tokens) {
      return refuse("probe boundary " + std::to_string(end) + " does not ascend within 1.." +
                    std::to_string(tokens));
    }
    before = end;
  }
  const bool score = request.kind == ProbeKind::kScore;
  if (score && request.target_tokens.empty())
    return refuse("a scoring probe without target tokens");
  if (!score && request.continuations < 1) return refuse("a probe of 0 continuations");
  const int64_t tail = static_cast<int64_t>(request.probe_tokens.size()) +
                       (score ? static_cast<int64_t>(request.target_tokens.size()) : 1);
  if (before + tail > max_context) {
    return refuse("a probe of " + std::to_string(before + tail) +
                  " tokens does not fit the model's context of " + std::to_string(max_context));
  }
  return {};
}

std::vector<std::unique_ptr<Sequence>> probe_sequences(const std::shared_ptr<ProbeWork>& work,
                                                       const Lease& lease, Scheduler& scheduler) {
  const ProbeRequest& request = work->request;
  const int64_t last = request.prefix_ends.back();
  std::vector<std::unique_ptr<Sequence>> sequences;
  if (lease.cached < reusable(request, last)) {
    work->result.prefilled_again = true;
    if (request.prefix_ends.size() > 1) {  // they share their prefix: it is computed once
      auto s = std::make_unique<Sequence>();
      s->kind = Sequence::Kind::kPrefix;
      s->probe = work;
      s->tokens.assign(lease.tokens.begin(), lease.tokens.begin() + reusable(request, last));
      s->prompt_tokens = static_cast<int64_t>(s->tokens.size());
      s->cached = lease.cached;
      s->blocks = scheduler.fork(lease.blocks, s->cached);
      sequences.push_back(std::move(s));
      return sequences;
    }
  }
  for (size_t k = 0; k < request.prefix_ends.size(); ++k)
    sequences.push_back(boundary_sequence(work, k, lease, scheduler));
  return sequences;
}

Rollout finished_rollout(Sequence& sequence, FinishReason reason) {
  const GroupTask& task = sequence.group->task;
  Rollout rollout;
  rollout.key = task.key;
  rollout.route = task.route;
  rollout.purpose = task.purpose;
  rollout.sample = sequence.sample;
  rollout.group_samples = task.samples;
  rollout.prompt = task.prompt;
  rollout.tokens.assign(sequence.tokens.begin() + sequence.prompt_tokens, sequence.tokens.end());
  rollout.logprobs = std::move(sequence.logprobs);
  rollout.policy_logprobs = std::move(sequence.policy_logprobs);
  rollout.versions = std::move(sequence.versions);
  rollout.finish = reason;
  rollout.generate_seconds = sequence.seconds;
  return rollout;
}

Rollout failed_rollout(const GroupTask& task, uint32_t sample, Failure failure) {
  Rollout rollout;
  rollout.key = task.key;
  rollout.route = task.route;
  rollout.purpose = task.purpose;
  rollout.sample = sample;
  rollout.group_samples = task.samples;
  rollout.prompt = task.prompt;
  rollout.finish = failure.failure_class == FailureClass::kCancelled ? FinishReason::kCancelled
                                                                     : FinishReason::kFailed;
  rollout.failure = std::move(failure);
  return rollout;
}

bool completes_stop_string(const Sequence& s, const std::vector<std::string>& stop_strings,
                           const Tokenizer* tokenizer) {
  if (stop_strings.empty()) return false;
  size_t longest = 0;
  for (const std::string& stop : stop_strings) longest = std::max(longest, stop.size());
  // Only what the last token adds can complete a stop string: as much text as that needs.
  const size_t needed = longest + tokenizer->piece(s.tokens.back()).size();
  std::string text;
  for (auto t = s.tokens.size(); t-- > static_cast<size_t>(s.prompt_tokens);) {
    text.insert(0, tokenizer->piece(s.tokens[t]));
    if (text.size() >= needed) break;
  }
  return std::any_of(stop_strings.begin(), stop_strings.end(),
                     [&](const std::string& stop) { return text.find(stop) != std::string::npos; });
}

Result<void> check_engine_options(const EngineOptions& options, bool has_tokenizer) {
  const auto refuse = [](const char* key, int64_t value, const char* range) {
    return bad_input("engine." + std::string(key) + " is " + std::to_string(value) +
                     "; it must be " + range);
  };
  if (options.block_tokens < 16 || options.block_tokens % 16 != 0)
    return refuse("block_tokens", options.block_tokens, "a multiple of 16");
  if (options.kv_blocks < 0) return refuse("kv_blocks", options.kv_blocks, "0 (automatic) or more");
  if (options.max_sequences < 1) return refuse("max_sequences", options.max_sequences, "1 or more");
  if (options.max_batch_tokens < 0)
    return refuse("max_batch_tokens", options.max_batch_tokens, "0 (automatic) or more");
  if (options.threads < 1) return refuse("threads", options.threads, "1 or more");
  if (!options.stop_strings.empty() && !has_tokenizer)
    return bad_input("engine.stop_strings needs a model with a tokenizer");
  return {};
}

}  // namespace tracewise
