// Keys and values of many sequences in fixed-size blocks, and attention over them.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "model/decoder.hpp"
#include "model/model_config.hpp"

namespace tracewise {

namespace kernels {
template <class T>
struct TableOf;
}

// The memory alone; who owns which block is decided by rollout/block_allocator.
class KvCache {
 public:
  // block_tokens is a multiple of 16.
  KvCache(const ModelConfig& config, int64_t blocks, int64_t block_tokens, at::Device device);

  int64_t blocks() const { return blocks_; }
  int64_t block_tokens() const { return block_tokens_; }
  static int64_t bytes_per_block(const ModelConfig& config, int64_t block_tokens);

  // Copies blocks (from, to) in all layers, one after the other.
  void copy_blocks(std::span<const std::pair<int32_t, int32_t>> copies);

 private:
  friend class PagedAttention;

  int64_t kv_heads_, head_dim_, blocks_, block_tokens_;
  bool panels_;  // in the layout of model/kernels; else [layers, slots, kv_heads, head_dim]
  at::Tensor keys_, values_;
};

// The new tokens of one sequence in a packed pass.
struct PagedChunk {
  std::span<const int32_t> blocks;  // block table; covers context + tokens
  int64_t context = 0;              // tokens that are in the cache already
  int64_t tokens = 0;               // tokens of this pass
};

// Writes the pass's keys and values into the cache and attends to all that came before.
class PagedAttention final : public Attention {
 public:
  // The chunks lie one behind the other in the packed pass. The block tables must outlive this.
  PagedAttention(KvCache& cache, std::vector<PagedChunk> chunks);

  at::Tensor attend(int64_t layer, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                    int64_t window) override;

 private:
  at::Tensor attend_panels(int64_t layer, const at::Tensor& q, const at::Tensor& k,
                           const at::Tensor& v, int64_t window);
  at::Tensor attend_slots(int64_t layer, const at::Tensor& q, const at::Tensor& k,
                          const at::Tensor& v, int64_t window);

  template <class T>
  struct LayerPanels {
    T* keys;
    T* values;
  };
  template <class T>
  void write_panels(const kernels::TableOf<T>& table, const LayerPanels<T>& panels,
                    const at::Tensor& k, const at::Tensor& v) const;
  template <class T>
  void read_panels(const kernels::TableOf<T>& table, const LayerPanels<T>& panels,
                   const at::Tensor& q, const at::Tensor& out, int64_t window) const;
  int64_t panel_of(const PagedChunk& chunk, int64_t panel) const;

  KvCache& cache_;
  std::vector<PagedChunk> chunks_;
  std::vector<int64_t> starts_;    // [chunks + 1] in the packed pass
  std::vector<int32_t> chunk_of_;  // [N] chunk of each token
  at::Tensor new_slots_;           // [N] slot of each new token; for the slot layout
};

}  // namespace tracewise
