#include "model/kv_cache.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <sys/mman.h>

#include <algorithm>
#include <cmath>
#include <new>

#include "model/kernels/kernels.hpp"

namespace tracewise {
namespace {

using kernels::kLanes;

constexpr int64_t kTokenGrain = 16;  // tokens whose attention is worth a second thread

// Zeros whose pages take no memory before they are written to: most runs use a part of their cache.
at::Tensor untouched_zeros(at::IntArrayRef shape, at::TensorOptions options) {
  if (!options.device().is_cpu()) return at::zeros(shape, options);
  const size_t bytes = c10::multiply_integers(shape) * options.dtype().itemsize();
  if (bytes == 0) return at::zeros(shape, options);
  void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  return at::from_blob(
      memory, shape, [bytes](void* p) { ::munmap(p, bytes); }, options);
}

// Slots 0 .. tokens of a block table.
std::vector<int64_t> slots_of(const PagedChunk& chunk, int64_t begin, int64_t end,
                              int64_t block_tokens) {
  std::vector<int64_t> slots;
  for (int64_t t = begin; t < end; ++t)
    slots.push_back(chunk.blocks[t / block_tokens] * block_tokens + t % block_tokens);
  return slots;
}

}  // namespace

KvCache::KvCache(const ModelConfig& config, int64_t blocks, int64_t block_tokens, at::Device device)
    : kv_heads_(config.kv_heads),
      head_dim_(config.head_dim),
      blocks_(blocks),
      block_tokens_(block_tokens),
      panels_(device.is_cpu()) {
  TW_CHECK(block_tokens % kLanes == 0, "a cache block holds a multiple of 16 tokens");
  const auto options =
      at::TensorOptions().dtype(config.dtype == "F32" ? at::kFloat : at::kBFloat16).device(device);
  if (panels_) {
    const int64_t panels = blocks * (block_tokens / kLanes);
    keys_ = untouched_zeros({config.layers, panels, kv_heads_, kernels::key_panel_size(head_dim_)},
                            options);
    values_ = untouched_zeros(
        {config.layers, panels, kv_heads_, kernels::value_panel_size(head_dim_)}, options);
  } else {
    const std::vector<int64_t> shape = {config.layers, blocks * block_tokens, kv_heads_, head_dim_};
    keys_ = untouched_zeros(shape, options);
    values_ = untouched_zeros(shape, options);
  }
}

int64_t KvCache::bytes_per_block(const ModelConfig& config, int64_t block_tokens) {
  const int64_t element = config.dtype == "F32" ? 4 : 2;
  return 2 * config.layers * block_tokens * config.kv_heads * config.head_dim * element;
}

void KvCache::copy_blocks(std::span<const std::pair<int32_t, int32_t>> copies) {
  if (copies.empty()) return;
  const int64_t rows = panels_ ? block_tokens_ / kLanes : block_tokens_;
  if (!panels_) {
    for (const at::Tensor& cache : {keys_, values_})
      for (const auto& [from, to] : copies)
        cache.narrow(1, to * rows, rows).copy_(cache.narrow(1, from * rows, rows));
    return;
  }
  // Straight through memory: probes copy thousands of small blocks, and a tensor operation each
  // would cost more than the copy. Threads share out layers and panel rows, never the copies: a
  // block may be written by one copy and read by the next.
  const int64_t layers = keys_.size(0);
  at::parallel_for(0, 2 * layers * rows, 1, [&](int64_t begin, int64_t end) {
    for (int64_t part = begin; part < end; ++part) {
      const at::Tensor& cache = part % 2 == 0 ? keys_ : values_;
      const int64_t row = cache.stride(1) * cache.element_size();  // bytes
      std::byte* base = static_cast<std::byte*>(cache.data_ptr()) +
                        part / 2 % layers * cache.stride(0) * cache.element_size() +
                        part / 2 / layers * row;
      for (const auto& [from, to] : copies)
        std::copy_n(base + from * rows * row, row, base + to * rows * row);
    }
  });
}

PagedAttention::PagedAttention(KvCache& cache, std::vector<PagedChunk> chunks)
    : cache_(cache), chunks_(std::move(chunks)) {
  std::vector<int64_t> slots;
  starts_.push_back(0);
  for (size_t c = 0; c < chunks_.size(); ++c) {
    const PagedChunk& chunk = chunks_[c];
    const int64_t end = chunk.context + chunk.tokens;
    TW_CHECK(static_cast<int64_t>(chunk.blocks.size()) * cache.block_tokens_ >= end,
             "a block table is too short for its tokens");
    starts_.push_back(starts_.back() + chunk.tokens);
    chunk_of_.insert(chunk_of_.end(), chunk.tokens, static_cast<int32_t>(c));
    if (!cache.panels_) {
      const auto some = slots_of(chunk, chunk.context, end, cache.block_tokens_);
      slots.insert(slots.end(), some.begin(), some.end());
    }
  }
  if (!cache.panels_) new_slots_ = at::tensor(slots, at::kLong).to(cache.keys_.device());
}

at::Tensor PagedAttention::attend(int64_t layer, const at::Tensor& q, const at::Tensor& k,
                                  const at::Tensor& v, int64_t window) {
  TW_CHECK(q.size(0) == starts_.back(), "the chunks do not cover the packed pass");
  return cache_.panels_ ? attend_panels(layer, q, k, v, window)
                        : attend_slots(layer, q, k, v, window);
}

template <class T>
void PagedAttention::write_panels(const kernels::TableOf<T>& table, const LayerPanels<T>& panels,
                                  const at::Tensor& k, const at::Tensor& v) const {
  const int64_t kv_heads = cache_.kv_heads_, hd = cache_.head_dim_;
  const T* const k_data = static_cast<const T*>(k.data_ptr());
  const T* const v_data = static_cast<const T*>(v.data_ptr());
  at::parallel_for(0, k.size(0), 64, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      const PagedChunk& chunk = chunks_[chunk_of_[n]];
      const int64_t t = chunk.context + n - starts_[chunk_of_[n]];
      const int64_t panel = panel_of(chunk, t / kLanes) * kv_heads;
      for (int64_t h = 0; h < kv_heads; ++h) {
        table.write_key(k_data + (n * kv_heads + h) * hd, hd, t % kLanes,
                        panels.keys + (panel + h) * kernels::key_panel_size(hd));
        table.write_value(v_data + (n * kv_heads + h) * hd, hd, t % kLanes,
                          panels.values + (panel + h) * kernels::value_panel_size(hd));
      }
    }
  });
}

template <class T>
void PagedAttention::read_panels(const kernels::TableOf<T>& table, const LayerPanels<T>& panels,
                                 const at::Tensor& q, const at::Tensor& out, int64_t window) const {
  const int64_t heads = q.size(1), kv_heads = cache_.kv_heads_, hd = cache_.head_dim_;
  kernels::TokenAttention all;
  all.heads = heads, all.kv_heads = kv_heads, all.head_dim = hd;
  all.scale = 1.0f / std::sqrt(static_cast<float>(hd));
  at::parallel_for(0, q.size(0), kTokenGrain, [&](int64_t begin, int64_t end) {
    kernels::TokenAttention token = all;
    std::vector<const T*> key_panels, value_panels;
    std::vector<float> scratch;
    for (int64_t n = begin; n < end; ++n) {
      const PagedChunk& chunk = chunks_[chunk_of_[n]];
      const int64_t seen = chunk.context + n - starts_[chunk_of_[n]] + 1;
      const int64_t first = window == 0 ? 0 : std::max<int64_t>(0, seen - window);
      token.skip = first % kLanes;
      token.keys = seen - (first - token.skip);
      token.q = q.data_ptr<float>() + n * heads * hd;
      token.out = out.data_ptr<float>() + n * heads * hd;
      key_panels.clear(), value_panels.clear();
      for (int64_t p = first / kLanes; p * kLanes < seen; ++p) {
        const int64_t at = panel_of(chunk, p) * kv_heads;
        key_panels.push_back(panels.keys + at * kernels::key_panel_size(hd));
        value_panels.push_back(panels.values + at * kernels::value_panel_size(hd));
      }
      const auto needed = static_cast<size_t>(kernels::attend_scratch_size(token.keys));
      if (scratch.size() < needed) scratch.resize(needed);
      table.attend(token, key_panels.data(), value_panels.data(), scratch.data());
    }
  });
}

// Where key position 16 * `panel` of a chunk lies: its panel's index, kv head 0.
int64_t PagedAttention::panel_of(const PagedChunk& chunk, int64_t panel) const {
  const int64_t per_block = cache_.block_tokens_ / kLanes;
  return chunk.blocks[panel / per_block] * per_block + panel % per_block;
}

// Scores and weights are fp32; a bf16 result is rounded once, as ops::packed_attention does.
at::Tensor PagedAttention::attend_panels(int64_t layer, const at::Tensor& q, const at::Tensor& k,
                                         const at::Tensor& v, int64_t window) {
  const at::Tensor queries = q.contiguous().to(at::kFloat);
  const at::Tensor out = at::empty_like(queries);
  const auto attend = [&]<class T>(const kernels::TableOf<T>& table) {
    const auto layer_of = [&](const at::Tensor& cache) {
      return static_cast<T*>(cache.data_ptr()) + layer * cache.stride(0);
    };
    const LayerPanels<T> panels{layer_of(cache_.keys_), layer_of(cache_.values_)};
    write_panels(table, panels, k.contiguous(), v.contiguous());
    read_panels(table, panels, queries, out, window);
  };
  const kernels::Table& table = kernels::table();
  if (cache_.keys_.scalar_type() == at::kFloat)
    attend(table.f32);
  else
    attend(table.b16);
  return out.to(q.scalar_type());
}

at::Tensor PagedAttention::attend_slots(int64_t layer, const at::Tensor& q, const at::Tensor& k,
                                        const at::Tensor& v, int64_t window) {
  const at::Tensor keys = cache_.keys_[layer];
  const at::Tensor values = cache_.values_[layer];
  at::Tensor all_keys = keys, all_values = values;
  all_keys.index_copy_(0, new_slots_, k);
  all_values.index_copy_(0, new_slots_, v);
  const int64_t shared = q.size(1) / k.size(1);
  std::vector<at::Tensor> outs;
  for (size_t c = 0; c < chunks_.size(); ++c) {
    const PagedChunk& chunk = chunks_[c];
    const int64_t end = chunk.context + chunk.tokens;
    const at::Tensor slots =
        at::tensor(slots_of(chunk, 0, end, cache_.block_tokens_), at::kLong).to(q.device());
    const auto past = [&](const at::Tensor& cache) {  // [1, heads, end, head_dim]
      return cache.index_select(0, slots).transpose(0, 1).unsqueeze(0).repeat_interleave(shared, 1);
    };
    at::Tensor mask =  // [tokens, end]
        at::ones({chunk.tokens, end}, at::TensorOptions().dtype(at::kBool).device(q.device()))
            .tril(chunk.context);
    if (window > 0) mask = mask.triu(chunk.context + 1 - window);
    const at::Tensor query = q.slice(0, starts_[c], starts_[c + 1]).transpose(0, 1).unsqueeze(0);
    outs.push_back(at::scaled_dot_product_attention(query, past(keys), past(values), mask)
                       .squeeze(0)
                       .transpose(0, 1));
  }
  return at::cat(outs, 0);
}

}  // namespace tracewise
