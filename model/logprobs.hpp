// Log-probabilities of tokens, and the one place that knows which row predicts which token.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "model/decoder.hpp"

namespace tracewise {

// Logits row t - 1 predicts token t: the only shift-by-one of the tree.
inline constexpr int64_t predicting_row(int64_t token_index) { return token_index - 1; }

// logits [R, V] fp32 at temperature 1, targets [R] int64 -> [R] nats, with gradient.
at::Tensor token_logprobs(const at::Tensor& logits, const at::Tensor& targets);

// The same of log-probabilities [R, V] of the whole vocabulary.
at::Tensor of_targets(const at::Tensor& logprobs, const at::Tensor& targets);

// Entropy of each row's distribution. logprobs [R, V] fp32 -> [R] nats, without gradient.
at::Tensor row_entropy(const at::Tensor& logprobs);

// Several sequences packed one behind the other, and which of their tokens are to be predicted.
struct PackedTokens {
  std::vector<int64_t> tokens;     // [N]
  std::vector<int64_t> positions;  // [N]; 0 at each sequence's start
  std::vector<int64_t> starts;     // [S + 1]
  std::vector<int64_t> rows;       // [R] rows of the packed pass that predict targets
  std::vector<int64_t> targets;    // [R] token ids

  // Appends a sequence whose tokens from `first` (>= 1) on are predicted.
  void append(std::span<const int32_t> sequence, int64_t first);
};

// Hidden states of the predicting rows: [R, width]. `checkpointed`: see
// Decoder::checkpointed_hidden.
at::Tensor predicting_hidden(const Decoder& decoder, const PackedTokens& packed,
                             bool checkpointed = false);

// Logits of the predicting rows: [R, V] fp32.
at::Tensor predict(const Decoder& decoder, const PackedTokens& packed);

// Rows whose logits are computed at once where not all are wanted together: so many that they take
// 64 MiB on the CPU, 512 MiB on a GPU, and one at least.
int64_t rows_at_once(const Decoder& decoder);

// Log-probability of each target: [R] nats, without gradient, and without the logits of all rows at
// once. hidden [R, width], targets [R] int64.
at::Tensor target_logprobs(const Decoder& decoder, const at::Tensor& hidden,
                           const at::Tensor& targets);
at::Tensor predict_logprobs(const Decoder& decoder, const PackedTokens& packed);

// Log-probability of tokens[1..] of each sequence, in passes of at most `budget` tokens where a
// sequence fits. Result s has length sequences[s].size() - 1. No gradient.
std::vector<std::vector<float>> score_sequences(const Decoder& decoder,
                                                std::span<const std::vector<int32_t>> sequences,
                                                int64_t budget);

}  // namespace tracewise
