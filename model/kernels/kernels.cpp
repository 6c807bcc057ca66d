// Compiled once for each instruction set, with TW_TABLE naming the table's function.
#include "model/kernels/kernels.hpp"

#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

#include "model/kernels/simd.hpp"

namespace tracewise::kernels {
namespace {

#if defined(__AVX512F__)
constexpr int kTileRows = 12;  // 24 of 32 registers hold sums
#else
constexpr int kTileRows = 3;  // 12 of 16
#endif

// --- matrix products
// ------------------------------------------------------------------------------

void pack_transposed(const float* w, int64_t out, int64_t in, float* packed) {
  for (int64_t panel = 0; panel < out; panel += kLanes) {
    const int64_t lanes = out - panel < kLanes ? out - panel : kLanes;
    for (int64_t k = 0; k < in; ++k, packed += kLanes) {
      for (int64_t lane = 0; lane < lanes; ++lane) packed[lane] = w[(panel + lane) * in + k];
      for (int64_t lane = lanes; lane < kLanes; ++lane) packed[lane] = 0;
    }
  }
}

void pack_rows(const float* b, int64_t ldb, int64_t depth, int64_t columns, float* packed) {
  for (int64_t panel = 0; panel < columns; panel += kLanes) {
    const int64_t lanes = columns - panel < kLanes ? columns - panel : kLanes;
    for (int64_t k = 0; k < depth; ++k, packed += kLanes) {
      const float* row = b + k * ldb + panel;
      store(packed, lanes == kLanes ? load(row) : load_part(row, lanes));
    }
  }
}

// Of bf16 lane l of panel p holds the depths 2k and 2k + 1 of column 16p + l side by side.
void pack_transposed(const bf16* w, int64_t out, int64_t in, bf16* packed) {
  const int64_t depth = packed_depth<bf16>(in);
  for (int64_t panel = 0; panel < out; panel += kLanes, packed += kLanes * depth) {
    const int64_t lanes = out - panel < kLanes ? out - panel : kLanes;
    const bf16* const rows = w + panel * in;
    __builtin_memset(packed, 0, sizeof(bf16) * (lanes < kLanes ? kLanes * depth : 0));
    bf16* to = packed;
    for (int64_t k = 0; k + 2 <= in; k += 2, to += 2 * kLanes)
      for (int64_t lane = 0; lane < lanes; ++lane)
        __builtin_memcpy(to + lane * 2, rows + lane * in + k, 2 * sizeof(bf16));
    __builtin_memset(to, 0, sizeof(bf16) * (packed + kLanes * depth - to));
    for (int64_t lane = 0; in % 2 == 1 && lane < lanes; ++lane)
      to[lane * 2] = rows[lane * in + in - 1];
  }
}

void pack_rows(const bf16* b, int64_t ldb, int64_t depth, int64_t columns, bf16* packed) {
  const auto row_at = [&](int64_t k, int64_t panel, int64_t lanes) {
    v16h row{};
    if (k < depth && lanes == kLanes)
      return *reinterpret_cast<const v16h_unaligned*>(b + k * ldb + panel);
    for (int64_t lane = 0; k < depth && lane < lanes; ++lane)
      row[lane] = b[k * ldb + panel + lane].bits;
    return row;
  };
  const int64_t packed_rows = packed_depth<bf16>(depth);
  for (int64_t panel = 0; panel < columns; panel += kLanes) {
    const int64_t lanes = columns - panel < kLanes ? columns - panel : kLanes;
    for (int64_t k = 0; k < packed_rows; k += 2, packed += 2 * kLanes) {
      const v16u even = __builtin_convertvector(row_at(k, panel, lanes), v16u);
      const v16u odd = __builtin_convertvector(row_at(k + 1, panel, lanes), v16u);
      *reinterpret_cast<v16u_unaligned*>(packed) = even | odd << 16;
    }
  }
}

// Columns 16p .. 16p + 15 at depths k and, of bf16, k + 1.
inline __attribute__((always_inline)) void load_depths(const float* panel, int64_t k, v16* b) {
  b[0] = load(panel + k * kLanes);
}
inline __attribute__((always_inline)) void load_depths(const bf16* panel, int64_t k, v16* b) {
  const v16u both = *reinterpret_cast<const v16u_unaligned*>(panel + k * kLanes);
  b[0] = as_floats(both << 16);
  b[1] = as_floats(both & 0xffff0000);
}

// acc += the products of `Depths` depths from k on: of bf16 two, or the last one of an odd number.
template <int Depths, int Rows, int Panels, class T>
inline __attribute__((always_inline)) void add_products(const T* a, int64_t lda, const T* packed,
                                                        int64_t panel_size, int64_t k,
                                                        v16 (&acc)[Rows][Panels]) {
  v16 b[Panels][4 / sizeof(T)];
  for (int p = 0; p < Panels; ++p) load_depths(packed + p * panel_size, k, b[p]);
  for (int i = 0; i < Depths; ++i) {
    for (int r = 0; r < Rows; ++r) {
      const v16 x = splat(to_float(a[r * lda + k + i]));
      for (int p = 0; p < Panels; ++p) acc[r][p] += x * b[p][i];
    }
  }
}

#if defined(__AVX512BF16__)
// One instruction multiplies both depths and adds them; the packed layout is what it reads.
template <int Depths, int Rows, int Panels>
inline __attribute__((always_inline)) void add_products(const bf16* a, int64_t lda,
                                                        const bf16* packed, int64_t panel_size,
                                                        int64_t k, v16 (&acc)[Rows][Panels]) {
  const auto pairs = [](v16u bits) { return reinterpret_cast<__m512bh>(bits); };
  __m512bh b[Panels];
  for (int p = 0; p < Panels; ++p)
    b[p] = pairs(*reinterpret_cast<const v16u_unaligned*>(packed + p * panel_size + k * kLanes));
  for (int r = 0; r < Rows; ++r) {
    uint32_t pair = 0;
    __builtin_memcpy(&pair, a + r * lda + k, Depths * sizeof(bf16));
    const __m512bh x = pairs(pair - v16u{});
    for (int p = 0; p < Panels; ++p) acc[r][p] = _mm512_dpbf16_ps(acc[r][p], x, b[p]);
  }
}
#endif

// Rows x (16 * Panels) outputs. Each output is one chain of sums over the depth, in order.
template <int Rows, int Panels, class T, class Out>
void gemm_tile(const T* a, int64_t lda, const T* packed, const T* bias, int64_t depth,
               int64_t columns, Out* y, int64_t ldy) {
  constexpr int kDepths = 4 / sizeof(T);
  const int64_t panel_size = packed_depth<T>(depth) * kLanes;
  v16 acc[Rows][Panels];
  for (int p = 0; p < Panels; ++p) {
    const int64_t left = columns - p * kLanes;
    v16 start{};
    if (bias != nullptr) {
      start = left >= kLanes ? load(bias + p * kLanes) : load_part(bias + p * kLanes, left);
    }
    for (int r = 0; r < Rows; ++r) acc[r][p] = start;
  }
  int64_t k = 0;
  for (; k + kDepths <= depth; k += kDepths)
    add_products<kDepths>(a, lda, packed, panel_size, k, acc);
  if (k < depth) add_products<1>(a, lda, packed, panel_size, k, acc);
  for (int r = 0; r < Rows; ++r) {
    for (int p = 0; p < Panels; ++p) {
      const int64_t left = columns - p * kLanes;
      if (left >= kLanes) {
        store(y + r * ldy + p * kLanes, acc[r][p]);
      } else {
        store_part(y + r * ldy + p * kLanes, acc[r][p], left);
      }
    }
  }
}

template <class T, class Out>
using TileFunction = void (*)(const T*, int64_t, const T*, const T*, int64_t, int64_t, Out*,
                              int64_t);

template <int Panels, class T, class Out, int Rows = kTileRows>
TileFunction<T, Out> tile_for(int64_t rows) {
  if constexpr (Rows == 1) {
    return gemm_tile<1, Panels, T, Out>;
  } else {
    return rows >= Rows ? gemm_tile<Rows, Panels, T, Out>
                        : tile_for<Panels, T, Out, Rows - 1>(rows);
  }
}

template <class T, class Out>
void gemm(const T* a, int64_t lda, const T* packed, const T* bias, int64_t rows, int64_t depth,
          int64_t columns, Out* y, int64_t ldy) {
  constexpr int64_t kBlockRows = 240;  // rows of `a` that stay in the second-level cache
  for (int64_t block = 0; block < rows; block += kBlockRows) {
    const int64_t block_end = block + kBlockRows < rows ? block + kBlockRows : rows;
    for (int64_t c = 0; c < columns; c += 2 * kLanes) {
      const bool two = columns - c > kLanes;
      const T* panel = packed + c * packed_depth<T>(depth);
      for (int64_t r = block; r < block_end;) {
        const int64_t left = block_end - r;
        const TileFunction<T, Out> tile =
            two ? tile_for<2, T, Out>(left) : tile_for<1, T, Out>(left);
        tile(a + r * lda, lda, panel, bias == nullptr ? nullptr : bias + c, depth, columns - c,
             y + r * ldy + c, ldy);
        r += left < kTileRows ? left : kTileRows;
      }
    }
  }
}

// c[i..i+Rows) [n..n+16*Panels) += a^T b over rows [begin, end) of a and b.
template <int Rows, int Panels>
void outer_tile(const float* a, int64_t m, const float* b, int64_t n, int64_t begin, int64_t end,
                float* c) {
  v16 acc[Rows][Panels];
  for (int r = 0; r < Rows; ++r)
    for (int p = 0; p < Panels; ++p) acc[r][p] = load(c + r * n + p * kLanes);
  for (int64_t k = begin; k < end; ++k) {
    v16 x[Panels];
    for (int p = 0; p < Panels; ++p) x[p] = load(b + k * n + p * kLanes);
    for (int r = 0; r < Rows; ++r) {
      const v16 s = splat(a[k * m + r]);
      for (int p = 0; p < Panels; ++p) acc[r][p] += s * x[p];
    }
  }
  for (int r = 0; r < Rows; ++r)
    for (int p = 0; p < Panels; ++p) store(c + r * n + p * kLanes, acc[r][p]);
}

void gemm_transposed_a(const float* a, const float* b, int64_t depth, int64_t m, int64_t n,
                       int64_t begin, int64_t end, float* c) {
  constexpr int64_t kBlockDepth = 256;  // rows of `b` that stay in the second-level cache
  for (int64_t block = 0; block < depth; block += kBlockDepth) {
    const int64_t block_end = block + kBlockDepth < depth ? block + kBlockDepth : depth;
    for (int64_t i = begin; i < end;) {
      const bool whole = end - i >= kTileRows;
      int64_t j = 0;
      for (; whole && j + 2 * kLanes <= n; j += 2 * kLanes)
        outer_tile<kTileRows, 2>(a + i, m, b + j, n, block, block_end, c + i * n + j);
      for (; whole && j + kLanes <= n; j += kLanes)
        outer_tile<kTileRows, 1>(a + i, m, b + j, n, block, block_end, c + i * n + j);
      const int64_t rows = whole ? kTileRows : 1;
      for (; j + kLanes <= n; j += kLanes)
        outer_tile<1, 1>(a + i, m, b + j, n, block, block_end, c + i * n + j);
      for (; j < n; ++j)
        for (int64_t r = i; r < i + rows; ++r)
          for (int64_t k = block; k < block_end; ++k) c[r * n + j] += a[k * m + r] * b[k * n + j];
      i += rows;
    }
  }
}

// --- elementwise and row-wise
// ---------------------------------------------------------------------

template <class T>
void rms_norm(const T* x, const T* w, int64_t rows, int64_t width, float eps, T* y, float* rstd) {
  const int64_t whole = width / kLanes * kLanes;
  for (int64_t r = 0; r < rows; ++r, x += width, y += width) {
    v16 squares{};
    for (int64_t i = 0; i < whole; i += kLanes) squares += load(x + i) * load(x + i);
    if (whole < width) {
      const v16 tail = load_part(x + whole, width - whole);
      squares += tail * tail;
    }
    const float scale = 1.0f / __builtin_sqrtf(sum(squares) / static_cast<float>(width) + eps);
    const v16 s = splat(scale);
    for (int64_t i = 0; i < whole; i += kLanes) store(y + i, load(x + i) * s * load(w + i));
    for (int64_t i = whole; i < width; ++i) assign(y[i], to_float(x[i]) * scale * to_float(w[i]));
    if (rstd != nullptr) rstd[r] = scale;
  }
}

template <class T>
void rms_norm_backward(const T* dy, const T* x, const T* w, const float* rstd, int64_t rows,
                       int64_t width, T* dx, float* dw) {
  const int64_t whole = width / kLanes * kLanes;
  for (int64_t r = 0; r < rows; ++r, x += width, dy += width, dx += width) {
    v16 products{};
    for (int64_t i = 0; i < whole; i += kLanes)
      products += load(dy + i) * load(w + i) * load(x + i);
    float dot = sum(products);
    for (int64_t i = whole; i < width; ++i)
      dot += to_float(dy[i]) * to_float(w[i]) * to_float(x[i]);
    const float s = rstd[r];
    const float pull = dot * s * s * s / static_cast<float>(width);
    for (int64_t i = 0; i < whole; i += kLanes) {
      const v16 g = load(dy + i);
      const v16 v = load(x + i);
      store(dx + i, g * load(w + i) * splat(s) - v * splat(pull));
      store(dw + i, load(dw + i) + g * v * splat(s));
    }
    for (int64_t i = whole; i < width; ++i) {
      assign(dx[i], to_float(dy[i]) * to_float(w[i]) * s - to_float(x[i]) * pull);
      dw[i] += to_float(dy[i]) * to_float(x[i]) * s;
    }
  }
}

template <class T>
void rope(const T* x, const int64_t* positions, const float* cos, const float* sin, int64_t rows,
          int64_t heads, int64_t head_dim, float sign, T* y) {
  const int64_t half = head_dim / 2;
  for (int64_t r = 0; r < rows; ++r) {
    const float* c = cos + positions[r] * half;
    const float* s = sin + positions[r] * half;
    for (int64_t h = 0; h < heads; ++h, x += head_dim, y += head_dim) {
      for (int64_t i = 0; i < half; ++i) {
        const float a = to_float(x[i]);
        const float b = to_float(x[i + half]);
        assign(y[i], a * c[i] - sign * b * s[i]);
        assign(y[i + half], b * c[i] + sign * a * s[i]);
      }
    }
  }
}

inline v16 sigmoid(v16 x) { return splat(1.0f) / (splat(1.0f) + exp(-x)); }

template <class T>
void swiglu(const T* gate, const T* up, int64_t n, T* y) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const v16 g = load(gate + i);
    store(y + i, g * sigmoid(g) * load(up + i));
  }
  if (i < n) {
    const v16 g = load_part(gate + i, n - i);
    store_part(y + i, g * sigmoid(g) * load_part(up + i, n - i), n - i);
  }
}

template <class T>
void swiglu_backward(const T* dy, const T* gate, const T* up, int64_t n, T* dgate, T* dup) {
  for (int64_t i = 0; i < n; i += kLanes) {
    const int64_t left = n - i < kLanes ? n - i : kLanes;
    const bool whole = left == kLanes;
    const v16 d = whole ? load(dy + i) : load_part(dy + i, left);
    const v16 g = whole ? load(gate + i) : load_part(gate + i, left);
    const v16 u = whole ? load(up + i) : load_part(up + i, left);
    const v16 s = sigmoid(g);
    const v16 dg = d * u * s * (splat(1.0f) + g * (splat(1.0f) - s));
    const v16 du = d * g * s;
    if (whole) {
      store(dgate + i, dg);
      store(dup + i, du);
    } else {
      store_part(dgate + i, dg, left);
      store_part(dup + i, du, left);
    }
  }
}

#include "model/kernels/attention.inc"

template <class T>
constexpr TableOf<T> table_of() {
  return {pack_transposed,      pack_rows, gemm<T, T>, gemm<T, float>,     rms_norm<T>,
          rms_norm_backward<T>, rope<T>,   swiglu<T>,  swiglu_backward<T>, write_key<T>,
          write_value<T>,       attend<T>};
}

}  // namespace

const Table& TW_TABLE() {
  static constexpr Table kTable = {TW_NAME,           table_of<float>(), table_of<bf16>(),
                                   gemm_transposed_a, causal_attention,  causal_attention_backward};
  return kTable;
}

}  // namespace tracewise::kernels
