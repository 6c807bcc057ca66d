#include "rollout/forward_pass.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <mutex>
#include <utility>

#include "model/decoder.hpp"
#include "model/kv_cache.hpp"
#include "model/logprobs.hpp"
#include "rollout/engine_work.hpp"

namespace tracewise {
namespace {

class DecoderPass final : public ForwardPass {
 public:
  DecoderPass(const EngineOptions& options, const ModelConfig& model, at::Device device)
      : decoder_(model, Decoder::Mode::kInference, device),
        cache_(model, options.kv_blocks, options.block_tokens, device) {}

  Result<void> check(const Weights& weights) const override { return decoder_.check(weights); }

  Result<void> prepare(const WeightsPtr& weights) override {
    TW_ASSIGN(FrozenParameters parameters, decoder_.freeze(weights));
    const std::lock_guard lock(mutex_);
    prepared_ = {weights, std::move(parameters)};
    return {};
  }

  void set_weights(const WeightsPtr& weights) override {
    Prepared prepared;
    {
      const std::lock_guard lock(mutex_);
      if (prepared_.weights && prepared_.weights->storage() == weights->storage())
        prepared = std::exchange(prepared_, {});
    }
    if (prepared.parameters) {
      decoder_.use(std::move(prepared.parameters));
    } else {
      TW_CHECK(decoder_.load(weights).ok(), "weights that were not checked");
    }
  }

  Distributions run(const Pass& pass, std::span<const WantedRow> wanted) override {
    const c10::InferenceMode inference;
    cache_.copy_blocks(pass.copies);
    std::vector<int64_t> tokens, positions, rows;
    std::vector<float> temperatures;
    std::vector<PagedChunk> chunks;
    for (const PassItem& item : pass.items) {
      const Sequence& s = *item.sequence;
      for (int64_t t = s.cached; t < s.cached + item.tokens; ++t) {
        tokens.push_back(s.tokens[t]);
        positions.push_back(t);
      }
      chunks.push_back({s.blocks, s.cached, item.tokens});
    }
    for (const WantedRow& w : wanted) {
      rows.push_back(w.row);
      temperatures.push_back(w.temperature);
    }
    const auto on_device = [&](const std::vector<int64_t>& x) {
      return at::tensor(x, at::kLong).to(decoder_.device());
    };
    PagedAttention attention(cache_, std::move(chunks));
    const at::Tensor hidden = decoder_.hidden(on_device(tokens), on_device(positions), attention);
    if (wanted.empty()) return {};
    const at::Tensor logits =
        decoder_.logits(hidden.index_select(0, on_device(rows))).to(at::kCPU);  // [R, V]
    policy_logprobs_ = at::log_softmax(logits, -1);
    const bool plain =
        std::all_of(temperatures.begin(), temperatures.end(), [](float t) { return t == 1.0f; });
    probabilities_ = plain ? policy_logprobs_.exp()
                           : at::softmax(logits / at::tensor(temperatures).unsqueeze(1), -1);
    return {policy_logprobs_.data_ptr<float>(), probabilities_.data_ptr<float>(),
            static_cast<size_t>(logits.size(1))};
  }

 private:
  Decoder decoder_;
  KvCache cache_;
  struct Prepared {
    WeightsPtr weights;
    FrozenParameters parameters;
  };
  std::mutex mutex_;  // of prepared_
  Prepared prepared_;
  at::Tensor policy_logprobs_, probabilities_;  // of the last pass
};

// Blocks for max_sequences whole contexts, but no more than a quarter of the memory.
int64_t default_blocks(const EngineOptions& options, const ModelConfig& model) {
  const int64_t context = (model.max_context + options.block_tokens - 1) / options.block_tokens;
  const int64_t memory =
      usable_memory(sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGE_SIZE),
                    {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"});
  const int64_t affordable = memory / 4 / KvCache::bytes_per_block(model, options.block_tokens);
  return std::max(context, std::min(context * options.max_sequences, affordable));
}

}  // namespace

std::vector<WantedRow> wanted_rows(const Pass& pass) {
  std::vector<WantedRow> wanted;
  int64_t start = 0;
  for (const PassItem& item : pass.items) {
    Sequence& s = *item.sequence;
    const int64_t end = s.cached + item.tokens;
    if (s.kind == Sequence::Kind::kScore) {
      const auto targets = static_cast<int64_t>(s.probe->request.target_tokens.size());
      for (int64_t i = 0; i < targets; ++i) {
        const int64_t row = predicting_row(first_target(s.probe->request, s.sample) + i);
        if (row >= s.cached && row < end) wanted.push_back({&s, start + row - s.cached, i, 1});
      }
    } else if (s.kind != Sequence::Kind::kPrefix && end == static_cast<int64_t>(s.tokens.size())) {
      const float temperature = sampling_of(s).temperature;  // 0: greedy, at any temperature
      wanted.push_back(
          {&s, start + predicting_row(item.tokens), -1, temperature == 0 ? 1.0f : temperature});
    }
    start += item.tokens;
  }
  return wanted;
}

int64_t usable_memory(int64_t physical, const std::vector<std::filesystem::path>& limit_files) {
  int64_t usable = physical;
  for (const auto& file : limit_files) {
    int64_t limit = 0;
    // Absent outside of a container; the word "max" where there is no limit.
    if (std::ifstream(file) >> limit && limit > 0) usable = std::min(usable, limit);
  }
  return usable;
}

EngineOptions sized(EngineOptions options, const ModelConfig& model) {
  if (options.kv_blocks == 0) options.kv_blocks = default_blocks(options, model);
  // On a CPU a pass's activations and copied blocks should stay in its caches: 512 tokens probe a
  // fifth faster than 4096 (docs/bench.md). A GPU wants large products.
  if (options.max_batch_tokens == 0)
    options.max_batch_tokens = options.device == "cpu" ? 512 : 4096;
  return options;
}

Result<std::unique_ptr<ForwardPass>> make_forward_pass(const EngineOptions& options,
                                                       const ModelConfig& model) {
  TW_ASSIGN(const at::Device device, parse_device(options.device));
  at::set_num_threads(options.threads);
  try {
    return std::unique_ptr<ForwardPass>(std::make_unique<DecoderPass>(options, model, device));
  } catch (const std::exception& e) {
    return Error{ErrorClass::kResource,
                 "no memory for an engine with a cache of " + std::to_string(options.kv_blocks) +
                     " blocks (lower engine.max_sequences or engine.kv_blocks): " + e.what()};
  }
}

}  // namespace tracewise
