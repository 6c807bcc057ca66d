#include "model/logprobs.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

namespace tracewise {

at::Tensor token_logprobs(const at::Tensor& logits, const at::Tensor& targets) {
  return at::log_softmax(logits, -1).gather(1, targets.unsqueeze(1)).squeeze(1);
}

at::Tensor row_entropy(const at::Tensor& logits) {
  c10::NoGradGuard no_gradient;
  const at::Tensor logprobs = at::log_softmax(logits.detach(), -1);
  return -(logprobs.exp() * logprobs).sum(-1);
}

void PackedTokens::append(std::span<const int32_t> sequence, int64_t first) {
  TW_CHECK(first >= 1, "the first token of a sequence has nothing that predicts it");
  if (starts.empty()) starts.push_back(0);
  const int64_t start = starts.back();
  const auto length = static_cast<int64_t>(sequence.size());
  for (int64_t t = 0; t < length; ++t) {
    tokens.push_back(sequence[t]);
    positions.push_back(t);
  }
  for (int64_t t = first; t < length; ++t) {
    rows.push_back(start + predicting_row(t));
    targets.push_back(sequence[t]);
  }
  starts.push_back(start + length);
}

at::Tensor predict(const Decoder& decoder, const PackedTokens& packed) {
  const auto on_device = [&](const std::vector<int64_t>& x) {
    return at::tensor(x, at::kLong).to(decoder.device());
  };
  PackedAttention attention(packed.starts);
  const at::Tensor hidden =
      decoder.hidden(on_device(packed.tokens), on_device(packed.positions), attention);
  return decoder.logits(hidden.index_select(0, on_device(packed.rows)));
}

std::vector<std::vector<float>> score_sequences(const Decoder& decoder,
                                                std::span<const std::vector<int32_t>> sequences,
                                                int64_t budget) {
  c10::NoGradGuard no_gradient;
  std::vector<std::vector<float>> result;
  for (size_t next = 0; next < sequences.size();) {
    PackedTokens packed;
    const size_t first = next;
    do {
      packed.append(sequences[next], 1);
      ++next;
    } while (next < sequences.size() &&
             static_cast<int64_t>(packed.tokens.size() + sequences[next].size()) <= budget);
    std::vector<float> flat;
    if (!packed.rows.empty()) {
      const at::Tensor targets = at::tensor(packed.targets, at::kLong).to(decoder.device());
      const at::Tensor logprobs =
          token_logprobs(predict(decoder, packed), targets).to(at::kCPU).contiguous();
      flat.assign(logprobs.data_ptr<float>(), logprobs.data_ptr<float>() + logprobs.numel());
    }
    auto from = flat.begin();
    for (size_t s = first; s < next; ++s) {
      const auto count = static_cast<ptrdiff_t>(sequences[s].size()) - 1;
      result.emplace_back(from, from + count);
      from += count;
    }
  }
  return result;
}

}  // namespace tracewise
