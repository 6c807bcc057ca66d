#include "model/scorer.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>

#include "model/logprobs.hpp"

namespace tracewise {
namespace {

class DecoderScorer final : public Scorer {
 public:
  DecoderScorer(const ModelConfig& config, at::Device device, int64_t max_batch_tokens)
      : decoder_(config, Decoder::Mode::kInference, device), max_batch_tokens_(max_batch_tokens) {}

  Result<void> load(const WeightsPtr& weights) { return decoder_.load(weights); }

  Result<std::vector<std::vector<float>>> score(
      std::span<const std::vector<int32_t>> sequences) override {
    const ModelConfig& config = decoder_.config();
    for (const std::vector<int32_t>& tokens : sequences) {
      TW_CHECK(!tokens.empty() && static_cast<int64_t>(tokens.size()) <= config.max_context,
               "a sequence to score has 1 to max_context tokens");
      TW_CHECK(std::ranges::all_of(tokens,
                                   [&](int32_t id) { return id >= 0 && id < config.vocab_size; }),
               "a sequence to score has ids of the vocabulary");
    }
    const c10::InferenceMode inference;
    try {
      return score_sequences(decoder_, sequences, max_batch_tokens_);
    } catch (const std::exception& e) {
      return Error{ErrorClass::kInternal, std::string("scoring failed: ") + e.what()};
    }
  }

 private:
  Decoder decoder_;
  int64_t max_batch_tokens_;
};

}  // namespace

Result<std::unique_ptr<Scorer>> make_scorer(const ModelConfig& config, const WeightsPtr& weights,
                                            const ScorerOptions& options) {
  TW_CHECK(options.threads >= 1 && options.max_batch_tokens >= 1, "scorer options out of range");
  TW_ASSIGN(const at::Device device, parse_device(options.device));
  at::set_num_threads(options.threads);
  try {
    auto scorer = std::make_unique<DecoderScorer>(config, device, options.max_batch_tokens);
    TW_TRY(scorer->load(weights));
    return std::unique_ptr<Scorer>(std::move(scorer));
  } catch (const std::exception& e) {
    return Error{ErrorClass::kResource, std::string("no memory for the model: ") + e.what()};
  }
}

}  // namespace tracewise
