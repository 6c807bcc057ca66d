// Value probing (VVP), the part that needs no model: which request to make of a rollout's
// boundaries, and which values its answer means.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "messages/records.hpp"
#include "messages/result.hpp"
#include "rollout/verifier.hpp"

namespace tracewise {

class Tokenizer;

enum class ProbeMode : uint8_t {
  kNone,    // no values
  kAnswer,  // V_k = mean over the continuations of the verifier's reward
  kVerbal,  // V_k = mean over the continuations of the confidence they state; needs no gold answer
  kLikelihood,  // V_k = exp(mean log-probability of the gold answer's tokens)
};

struct ProbeOptions {
  ProbeMode mode = ProbeMode::kNone;
  // Appended to every state s_k. Empty in mode kAnswer: the continuation is the reasoning itself.
  std::string probe_text = "\n\n**Final Answer**\n\\boxed{";
  uint32_t continuations = 1;  // N >= 1, for kAnswer and kVerbal
  SamplingParams sampling{.temperature = 0, .max_new_tokens = 16};  // of the continuations
};

// Immutable; any thread may use it. The tokenizer and the verifier must outlive it.
class ValueProbe {
 public:
  // kBadInput if the vocabulary cannot spell the probe text, or a verbal probe has none.
  static Result<ValueProbe> make(ProbeOptions options, const Tokenizer& tokenizer,
                                 const Verifier& verifier);

  bool probes() const { return options_.mode != ProbeMode::kNone; }
  // Whether read() asks the verifier.
  bool verifies() const { return options_.mode == ProbeMode::kAnswer; }

  // Merges the steps behind states that leave no room for their probe in the model's context into
  // the last one: else a long rollout would lose its values, and with them its place in the batch.
  // Only for probes().
  void leave_room(const Prompt& prompt, int64_t max_context, std::vector<int32_t>& step_ends) const;

  // One request for the boundaries 0..K-1 of a response with these step ends, K >= 1: the states
  // end at P, P + step_ends[0], .., P + step_ends[K-2]. Only for probes(). kBadInput where the mode
  // needs a gold answer and the prompt has none.
  Result<ProbeRequest> request(const Prompt& prompt, const std::vector<int32_t>& step_ends) const;

  struct Values {
    std::vector<float> values;  // [K] V_0..V_{K-1} in [0, 1]
    Failure failure;            // kProbe, or the verifier's; then there are no values
  };
  // The values of K boundaries from the engine's answer to request().
  Values read(const Prompt& prompt, const ProbeResult& result, size_t boundaries) const;

 private:
  ValueProbe(ProbeOptions options, const Tokenizer& tokenizer, const Verifier& verifier)
      : options_(std::move(options)), tokenizer_(&tokenizer), verifier_(&verifier) {}

  Values read_likelihood(const Prompt& prompt, const ProbeResult& result, size_t boundaries) const;
  Values read_continuations(const Prompt& prompt, const ProbeResult& result,
                            size_t boundaries) const;

  ProbeOptions options_;
  std::vector<int32_t> probe_tokens_;
  const Tokenizer* tokenizer_;
  const Verifier* verifier_;
};

}  // namespace tracewise
