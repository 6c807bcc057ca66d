// Compiled once for each instruction set, with TW_TABLE naming the table's function.
#include "model/kernels/kernels.hpp"

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

void pack_rows(const float* b, int64_t depth, int64_t columns, float* packed) {
  for (int64_t panel = 0; panel < columns; panel += kLanes) {
    const int64_t lanes = columns - panel < kLanes ? columns - panel : kLanes;
    for (int64_t k = 0; k < depth; ++k, packed += kLanes) {
      const float* row = b + k * columns + panel;
      store(packed, lanes == kLanes ? load(row) : load_part(row, lanes));
    }
  }
}

// Rows x (16 * Panels) outputs. Each output is one chain of multiply-adds over the depth, in order.
template <int Rows, int Panels>
void gemm_tile(const float* a, int64_t lda, const float* packed, const float* bias, int64_t depth,
               int64_t columns, float* y, int64_t ldy) {
  v16 acc[Rows][Panels];
  for (int p = 0; p < Panels; ++p) {
    const int64_t left = columns - p * kLanes;
    v16 start{};
    if (bias != nullptr) {
      start = left >= kLanes ? load(bias + p * kLanes) : load_part(bias + p * kLanes, left);
    }
    for (int r = 0; r < Rows; ++r) acc[r][p] = start;
  }
  for (int64_t k = 0; k < depth; ++k) {
    v16 b[Panels];
    for (int p = 0; p < Panels; ++p) b[p] = load(packed + (p * depth + k) * kLanes);
    for (int r = 0; r < Rows; ++r) {
      const v16 x = splat(a[r * lda + k]);
      for (int p = 0; p < Panels; ++p) acc[r][p] += x * b[p];
    }
  }
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

using TileFunction = void (*)(const float*, int64_t, const float*, const float*, int64_t, int64_t,
                              float*, int64_t);

template <int Panels, int Rows = kTileRows>
TileFunction tile_for(int64_t rows) {
  if constexpr (Rows == 1) {
    return gemm_tile<1, Panels>;
  } else {
    return rows >= Rows ? gemm_tile<Rows, Panels> : tile_for<Panels, Rows - 1>(rows);
  }
}

void gemm(const float* a, int64_t lda, const float* packed, const float* bias, int64_t rows,
          int64_t depth, int64_t columns, float* y, int64_t ldy) {
  constexpr int64_t kBlockRows = 240;  // rows of `a` that stay in the second-level cache
  for (int64_t block = 0; block < rows; block += kBlockRows) {
    const int64_t block_end = block + kBlockRows < rows ? block + kBlockRows : rows;
    for (int64_t c = 0; c < columns; c += 2 * kLanes) {
      const bool two = columns - c > kLanes;
      const float* panel = packed + c * depth;
      for (int64_t r = block; r < block_end;) {
        const int64_t left = block_end - r;
        const TileFunction tile = two ? tile_for<2>(left) : tile_for<1>(left);
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

void rms_norm(const float* x, const float* w, int64_t rows, int64_t width, float eps, float* y,
              float* rstd) {
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
    for (int64_t i = whole; i < width; ++i) y[i] = x[i] * scale * w[i];
    if (rstd != nullptr) rstd[r] = scale;
  }
}

void rms_norm_backward(const float* dy, const float* x, const float* w, const float* rstd,
                       int64_t rows, int64_t width, float* dx, float* dw) {
  const int64_t whole = width / kLanes * kLanes;
  for (int64_t r = 0; r < rows; ++r, x += width, dy += width, dx += width) {
    v16 products{};
    for (int64_t i = 0; i < whole; i += kLanes)
      products += load(dy + i) * load(w + i) * load(x + i);
    float dot = sum(products);
    for (int64_t i = whole; i < width; ++i) dot += dy[i] * w[i] * x[i];
    const float s = rstd[r];
    const float pull = dot * s * s * s / static_cast<float>(width);
    for (int64_t i = 0; i < whole; i += kLanes) {
      const v16 g = load(dy + i);
      const v16 v = load(x + i);
      store(dx + i, g * load(w + i) * splat(s) - v * splat(pull));
      store(dw + i, load(dw + i) + g * v * splat(s));
    }
    for (int64_t i = whole; i < width; ++i) {
      dx[i] = dy[i] * w[i] * s - x[i] * pull;
      dw[i] += dy[i] * x[i] * s;
    }
  }
}

void rope(const float* x, const int64_t* positions, const float* cos, const float* sin,
          int64_t rows, int64_t heads, int64_t head_dim, float sign, float* y) {
  const int64_t half = head_dim / 2;
  for (int64_t r = 0; r < rows; ++r) {
    const float* c = cos + positions[r] * half;
    const float* s = sin + positions[r] * half;
    for (int64_t h = 0; h < heads; ++h, x += head_dim, y += head_dim) {
      for (int64_t i = 0; i < half; ++i) {
        const float a = x[i];
        const float b = x[i + half];
        y[i] = a * c[i] - sign * b * s[i];
        y[i + half] = b * c[i] + sign * a * s[i];
      }
    }
  }
}

inline v16 sigmoid(v16 x) { return splat(1.0f) / (splat(1.0f) + exp(-x)); }

void swiglu(const float* gate, const float* up, int64_t n, float* y) {
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

void swiglu_backward(const float* dy, const float* gate, const float* up, int64_t n, float* dgate,
                     float* dup) {
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

}  // namespace

const Table& TW_TABLE() {
  static constexpr Table kTable = {TW_NAME,
                                   pack_transposed,
                                   pack_rows,
                                   gemm,
                                   gemm_transposed_a,
                                   rms_norm,
                                   rms_norm_backward,
                                   rope,
                                   swiglu,
                                   swiglu_backward,
                                   write_key,
                                   write_value,
                                   attend,
                                   causal_attention,
                                   causal_attention_backward};
  return kTable;
}

}  // namespace tracewise::kernels
