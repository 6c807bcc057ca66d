#include "model/logprobs.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <memory>

namespace tracewise {

at::Tensor token_logprobs(const at::Tensor& logits, const at::Tensor& targets) {
  return of_targets(at::log_softmax(logits, -1), targets);
}

at::Tensor of_targets(const at::Tensor& logprobs, const at::Tensor& targets) {
  return logprobs.gather(1, targets.unsqueeze(1)).squeeze(1);
}

at::Tensor row_entropy(const at::Tensor& logprobs) {
  c10::NoGradGuard no_gradient;
  const at::Tensor all = logprobs.detach();
  return -all.exp().mul_(all).sum(-1);
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

at::Tensor predicting_hidden(const Decoder& decoder, const PackedTokens& packed,
                             bool checkpointed) {
  const auto on_device = [&](const std::vector<int64_t>& x) {
    return at::tensor(x, at::kLong).to(decoder.device());
  };
  const at::Tensor tokens = on_device(packed.tokens), positions = on_device(packed.positions);
  const auto attention = std::make_shared<PackedAttention>(packed.starts);
  const at::Tensor hidden = checkpointed ? decoder.checkpointed_hidden(tokens, positions, attention)
                                         : decoder.hidden(tokens, positions, *attention);
  return hidden.index_select(0, on_device(packed.rows));
}

at::Tensor predict(const Decoder& decoder, const PackedTokens& packed) {
  return decoder.logits(predicting_hidden(decoder, packed));
}

int64_t rows_at_once(const Decoder& decoder) {
  const int64_t floats = decoder.device().is_cpu() ? int64_t{16} << 20 : int64_t{128} << 20;
  return std::max<int64_t>(1, floats / decoder.config().vocab_size);
}

at::Tensor target_logprobs(const Decoder& decoder, const at::Tensor& hidden,
                           const at::Tensor& targets) {
  c10::NoGradGuard no_gradient;
  const int64_t step = rows_at_once(decoder);
  std::vector<at::Tensor> parts;
  for (int64_t begin = 0; begin < hidden.size(0); begin += step) {
    const int64_t rows = std::min(step, hidden.size(0) - begin);
    parts.push_back(token_logprobs(decoder.logits(hidden.narrow(0, begin, rows)),
                                   targets.narrow(0, begin, rows)));
  }
  return at::cat(parts);
}

at::Tensor predict_logprobs(const Decoder& decoder, const PackedTokens& packed) {
  c10::NoGradGuard no_gradient;
  return target_logprobs(decoder, predicting_hidden(decoder, packed),
                         at::tensor(packed.targets, at::kLong).to(decoder.device()));
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
      const at::Tensor logprobs = predict_logprobs(decoder, packed).to(at::kCPU).contiguous();
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
