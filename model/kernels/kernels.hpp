// CPU kernels of the decoder, for tensors of fp32 and of bf16. Plain pointers, row-major, one
// thread a call; callers split the work (model/ops.cpp). Compiled once for each instruction set and
// chosen at run time. All sums are fp32; a bf16 result is rounded once, to nearest, ties to even.
//
// Every row of a result is computed in an order that does not depend on which other rows are there:
// so a token's logits are the same bits whatever shares its batch, and the same bits in the engine
// (paged cache) and in the learner (packed sequences).
#pragma once

#include <cstdint>

namespace tracewise::kernels {

// The upper half of an fp32 number; c10::BFloat16 under another name.
struct [[gnu::may_alias]] bf16 {
  uint16_t bits;
};

// Keys of a cache panel, and columns of a weight panel.
inline constexpr int64_t kLanes = 16;

inline constexpr int64_t round_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

// Depth to which packed weights of T are filled up with zeros: whole tiles of bf16.
template <class T>
inline constexpr int64_t packed_depth(int64_t depth) {
  return sizeof(T) == 2 ? round_up(depth, 32) : depth;
}

// Elements of packed weights for `columns` output columns and depth `depth`.
template <class T>
inline constexpr int64_t packed_size(int64_t columns, int64_t depth) {
  return round_up(columns, kLanes) * packed_depth<T>(depth);
}

// Elements of one cache panel: kLanes keys of one head. Keys lie transposed [head_dim][kLanes];
// values lie in rows padded to whole lanes [kLanes][round_up(head_dim, kLanes)].
inline constexpr int64_t key_panel_size(int64_t head_dim) { return head_dim * kLanes; }
inline constexpr int64_t value_panel_size(int64_t head_dim) {
  return kLanes * round_up(head_dim, kLanes);
}

// One sequence and head of packed causal attention. Strides are in floats between tokens.
struct AttentionHead {
  int64_t tokens = 0;    // T
  int64_t head_dim = 0;  // hd
  int64_t window = 0;    // keys that a token sees at most, itself included; 0: all before it
  float scale = 1;
  const float* q = nullptr;  // [T, hd]
  int64_t q_stride = 0;      // of q, out, dout, dq
  const float* k = nullptr;  // [T, hd]
  const float* v = nullptr;  // [T, hd]
  int64_t kv_stride = 0;     // of k, v, dk, dv
  float* out = nullptr;      // [T, hd]
  float* lse = nullptr;      // [T] log of the softmax denominator; stride lse_stride
  int64_t lse_stride = 0;
  // Backward only; dk and dv are added to.
  const float* dout = nullptr;
  float* dq = nullptr;
  float* dk = nullptr;
  float* dv = nullptr;
};

// All heads of one token: out = softmax(scale q K^T) V over keys [skip, keys) of its panels.
struct TokenAttention {
  int64_t heads = 0, kv_heads = 0, head_dim = 0, keys = 0;
  int64_t skip = 0;  // < kLanes: whole panels out of sight are not given
  float scale = 1;
  const float* q = nullptr;  // [heads, head_dim]
  float* out = nullptr;      // [heads, head_dim]
};

// Kernels of tensors whose elements are T: float or bf16.
template <class T>
struct TableOf {
  // W [out, in] -> panels of kLanes outputs, the last one zero-padded. Of float:
  // packed[out/16][in][16]; of bf16 two depths side by side: packed[out/16][packed_depth/2][16][2].
  void (*pack_transposed)(const T* w, int64_t out, int64_t in, T* packed);
  // B [depth, columns] -> the same panels of kLanes columns. ldb: elements between rows.
  void (*pack_rows)(const T* b, int64_t ldb, int64_t depth, int64_t columns, T* packed);
  // y [rows, columns] = a [rows, depth] * packed, + bias [columns] where it is not null.
  // lda, ldy: elements between rows.
  void (*gemm)(const T* a, int64_t lda, const T* packed, const T* bias, int64_t rows, int64_t depth,
               int64_t columns, T* y, int64_t ldy);
  // The same without rounding the sums to T.
  void (*gemm_wide)(const T* a, int64_t lda, const T* packed, const T* bias, int64_t rows,
                    int64_t depth, int64_t columns, float* y, int64_t ldy);

  // y = x / sqrt(mean(x^2) + eps) * w for each of `rows` rows of `width`; rstd [rows] may be null.
  void (*rms_norm)(const T* x, const T* w, int64_t rows, int64_t width, float eps, T* y,
                   float* rstd);
  // dx [rows, width]; dw [width] is added to.
  void (*rms_norm_backward)(const T* dy, const T* x, const T* w, const float* rstd, int64_t rows,
                            int64_t width, T* dx, float* dw);
  // Rotates the two halves of each head by the token's angles: x, y [rows, heads, hd],
  // cos, sin [positions, hd/2]. sign -1 turns back (the backward pass).
  void (*rope)(const T* x, const int64_t* positions, const float* cos, const float* sin,
               int64_t rows, int64_t heads, int64_t head_dim, float sign, T* y);
  // y = silu(gate) * up, elementwise.
  void (*swiglu)(const T* gate, const T* up, int64_t n, T* y);
  void (*swiglu_backward)(const T* dy, const T* gate, const T* up, int64_t n, T* dgate, T* dup);

  // Copies one head's key and value into slot `slot` of their panels.
  void (*write_key)(const T* k, int64_t head_dim, int64_t slot, T* panel);
  void (*write_value)(const T* v, int64_t head_dim, int64_t slot, T* panel);
  // One token over the panels of its sequence: key_panels[i], value_panels[i] hold keys 16i..16i+15
  // of kv head 0; those of the other kv heads follow. scratch: attend_scratch_size(keys) floats.
  void (*attend)(const TokenAttention& token, const T* const* key_panels,
                 const T* const* value_panels, float* scratch);
};

struct Table {
  const char* name;  // "amx", "avx512_bf16", "avx512", "avx2", "generic"
  TableOf<float> f32;
  TableOf<bf16> b16;

  // c [m, n] += a^T b for rows [begin, end) of c; a [depth, m], b [depth, n].
  void (*gemm_transposed_a)(const float* a, const float* b, int64_t depth, int64_t m, int64_t n,
                            int64_t begin, int64_t end, float* c);
  // Whole sequence and head; `scratch` has attention_scratch_size(T, hd) floats.
  void (*causal_attention)(const AttentionHead& head, float* scratch);
  void (*causal_attention_backward)(const AttentionHead& head, float* scratch);
};

// Scores of four heads.
inline constexpr int64_t attend_scratch_size(int64_t keys) { return 4 * round_up(keys, kLanes); }

// Scratch of the two causal kernels: keys and values in panels, keys in rows, two gradients, and
// scores and rows of four queries.
inline constexpr int64_t attention_scratch_size(int64_t tokens, int64_t head_dim) {
  const int64_t panels = round_up(tokens, kLanes) / kLanes;
  return panels * (2 * key_panel_size(head_dim) + 3 * value_panel_size(head_dim)) +
         8 * panels * kLanes + 12 * round_up(head_dim, kLanes);
}

// The fastest table that this CPU runs. TRACEWISE_ISA=avx512_bf16|avx512|avx2|generic in the
// environment chooses a slower one (for tests); a value that names no table ends the process with
// exit code 2.
// Constant over the life of the process.
const Table& table();

const Table& generic_table();
#if defined(__x86_64__)
const Table& avx2_table();
const Table& avx512_table();
// The same with an instruction for pairs of bf16 (AMD since Zen 4, Intel's Cooper Lake).
const Table& avx512_bf16_table();
// avx512_table() with bf16 products on AMX tiles; the process must have asked for them (has_amx()).
const Table& amx_table();
// Whether CPU and system have AMX tiles for bf16, which this asks the system for.
bool has_amx();
// Whether the CPU has all that these tables are compiled with (model/CMakeLists.txt).
bool has_avx2();
bool has_avx512();
bool has_avx512_bf16();
#endif

}  // namespace tracewise::kernels
