// The decoder's operations on tensors, each with its gradient. On the CPU they run the kernels of
// model/kernels; elsewhere (CUDA) ATen's own. N is the number of tokens of a
// packed pass.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <vector>

namespace tracewise::ops {

// What an adapter makes of a projection: its weight is base + scale * b a.
struct LowRank {
  at::Tensor base;  // [out, in], frozen
  at::Tensor a;     // [rank, in] fp32
  at::Tensor b;     // [out, rank] fp32
  double scale = 0;
};

// A projection's parameters. `packed` is the kernel layout of a frozen weight (freeze()); without
// it the weight is packed at each use.
struct LinearWeight {
  at::Tensor weight;                     // [out, in]
  at::Tensor bias;                       // [out], or undefined
  at::Tensor packed;                     // of the weight's dtype, or undefined
  std::optional<LowRank> low_rank = {};  // of which `weight` is the sum; linear() trains a and b
};

// The sum, [out, in], in the base's dtype: added in fp32, then rounded. On the CPU the same bits
// for any number of threads, so whoever has base, a and b computes with the same weights.
at::Tensor merged(const LowRank& low_rank);

// Packs the weight for inference. Must be called again whenever the weight changes.
void freeze(LinearWeight& weight);

// [N, in] -> [N, out]. With `low_rank` its gradient reaches x, a and b, without one of the whole
// weight's size.
at::Tensor linear(const at::Tensor& x, const LinearWeight& weight);

// The same in fp32: what a bf16 product sums up, not rounded. Without `low_rank`.
at::Tensor linear_wide(const at::Tensor& x, const LinearWeight& weight);

// x / sqrt(mean(x^2) + eps) * weight over the last dimension; any leading shape.
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);

// Angles of every position (model/rope.hpp). cos, sin: [positions, head_dim/2] fp32.
struct RopeTable {
  at::Tensor cos;
  at::Tensor sin;
};

// Rotates the halves of every head (Su et al. 2021, in Hugging Face's half-split layout).
// x [N, heads, head_dim], positions [N] int64 -> [N, heads, head_dim]
at::Tensor rope(const at::Tensor& x, const at::Tensor& positions, const RopeTable& table);

// silu(gate) * up
at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up);

// Causal attention inside each of S sequences that lie one behind the other.
// q [N, heads, head_dim], k and v [N, kv_heads, head_dim]; starts [S + 1], starts[S] = N. A token
// sees at most `window` keys, its own included; 0: all before it.
at::Tensor packed_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            const std::vector<int64_t>& starts, int64_t window = 0);

// Whether `x` takes the kernels of model/kernels.
bool on_kernels(const at::Tensor& x);

}  // namespace tracewise::ops
