#include "rollout/values.hpp"

#include <algorithm>
#include <cmath>
#include <optional>

#include "model/tokenizer.hpp"
#include "rollout/answer_text.hpp"

namespace tracewise {
namespace {

ValueProbe::Values failed(std::string what) {
  return {{}, {FailureClass::kProbe, "probe: " + std::move(what)}};
}

ValueProbe::Values wrong_size(const char* what, size_t found, size_t expected) {
  return failed("the engine sent " + std::to_string(found) + " " + what + ", not " +
                std::to_string(expected));
}

}  // namespace

Result<ValueProbe> ValueProbe::make(ProbeOptions options, const Tokenizer& tokenizer,
                                    const Verifier& verifier) {
  ValueProbe probe(std::move(options), tokenizer, verifier);
  if (!probe.probes()) return probe;
  auto tokens = tokenizer.encode(probe.options_.probe_text, false);
  if (!tokens.ok()) return bad_input("probe text: " + tokens.error().message);
  probe.probe_tokens_ = std::move(*tokens);
  const ProbeMode mode = probe.options_.mode;
  if (mode == ProbeMode::kVerbal && probe.probe_tokens_.empty())
    return bad_input("probe.text is empty; a verbal probe asks with it");
  if (mode != ProbeMode::kLikelihood && probe.options_.continuations < 1)
    return bad_input("a probe that generates needs at least one continuation");
  return probe;
}

void ValueProbe::leave_room(const Prompt& prompt, int64_t max_context,
                            std::vector<int32_t>& step_ends) const {
  if (step_ends.empty()) return;
  const bool likelihood = options_.mode == ProbeMode::kLikelihood;
  const size_t tail = probe_tokens_.size() + (likelihood ? prompt.gold_tokens.size() : 1);
  const int64_t last_state = max_context - static_cast<int64_t>(tail + prompt.tokens.size());
  const auto last = step_ends.end() - 1;
  step_ends.erase(std::upper_bound(step_ends.begin(), last, last_state), last);
}

Result<ProbeRequest> ValueProbe::request(const Prompt& prompt,
                                         const std::vector<int32_t>& step_ends) const {
  TW_CHECK(probes() && !step_ends.empty(), "a probe without mode or steps");
  const bool likelihood = options_.mode == ProbeMode::kLikelihood;
  const bool has_gold = likelihood ? !prompt.gold_tokens.empty() : !trimmed(prompt.gold).empty();
  if (options_.mode != ProbeMode::kVerbal && !has_gold) {
    return bad_input("prompt \"" + prompt.id + "\" has no gold answer to probe for");
  }
  ProbeRequest request;
  request.probe_tokens = probe_tokens_;
  if (likelihood) {
    request.kind = ProbeKind::kScore;
    request.target_tokens = prompt.gold_tokens;
  } else {
    request.kind = ProbeKind::kGenerate;
    request.continuations = options_.continuations;
    request.sampling = options_.sampling;
  }
  const auto prompt_tokens = static_cast<int32_t>(prompt.tokens.size());
  request.prefix_ends.push_back(prompt_tokens);
  for (size_t k = 0; k + 1 < step_ends.size(); ++k) {
    request.prefix_ends.push_back(prompt_tokens + step_ends[k]);
  }
  return request;
}

ValueProbe::Values ValueProbe::read(const Prompt& prompt, const ProbeResult& result,
                                    size_t boundaries) const {
  if (result.failure.failed()) return {{}, result.failure};
  if (options_.mode == ProbeMode::kLikelihood) return read_likelihood(prompt, result, boundaries);
  return read_continuations(prompt, result, boundaries);
}

ValueProbe::Values ValueProbe::read_likelihood(const Prompt& prompt, const ProbeResult& result,
                                               size_t boundaries) const {
  const size_t n = prompt.gold_tokens.size();
  if (result.target_logprobs.size() != boundaries * n) {
    return wrong_size("log-probabilities", result.target_logprobs.size(), boundaries * n);
  }
  Values out;
  for (size_t k = 0; k < boundaries; ++k) {
    double sum = 0;
    for (size_t i = 0; i < n; ++i) sum += static_cast<double>(result.target_logprobs[k * n + i]);
    const double value = std::exp(sum / static_cast<double>(n));
    if (!std::isfinite(value)) return failed("V_" + std::to_string(k) + " is not finite");
    // Rounding may leave a log-probability a little above 0.
    out.values.push_back(static_cast<float>(std::clamp(value, 0.0, 1.0)));
  }
  return out;
}

ValueProbe::Values ValueProbe::read_continuations(const Prompt& prompt, const ProbeResult& result,
                                                  size_t boundaries) const {
  const size_t n = options_.continuations;
  if (result.continuations.size() != boundaries * n) {
    return wrong_size("continuations", result.continuations.size(), boundaries * n);
  }
  Values out;
  for (size_t k = 0; k < boundaries; ++k) {
    double sum = 0;
    size_t answered = 0;
    for (size_t i = 0; i < n; ++i) {
      const std::string text = response_text(result.continuations[k * n + i], *tokenizer_);
      if (options_.mode == ProbeMode::kVerbal) {
        const auto confidence = parse_confidence(text);
        if (!confidence) continue;
        sum += static_cast<double>(*confidence);
      } else {
        // A continuation is cut short by design, so how it ended says nothing about the answer.
        Verdict verdict =
            verifier_->verify(prompt, options_.probe_text + text, FinishReason::kStop);
        if (verdict.failure.failed()) return {{}, std::move(verdict.failure)};
        sum += static_cast<double>(verdict.reward);
      }
      ++answered;
    }
    if (answered == 0) {
      return failed("no continuation at boundary " + std::to_string(k) + " states a confidence");
    }
    out.values.push_back(static_cast<float>(sum / static_cast<double>(answered)));
  }
  return out;
}

}  // namespace tracewise
