// Products of bf16 on AMX tiles: a tile is 16 rows of 64 bytes, and one instruction multiplies 16
// rows of 32 depths with 32 depths of 16 columns.
#include <asm/prctl.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>

#include "model/kernels/kernels.hpp"
#include "model/kernels/simd.hpp"

namespace tracewise::kernels {
namespace {

constexpr int64_t kTile = 16;    // rows, and columns of fp32
constexpr int64_t kDepths = 32;  // of bf16 in a row
constexpr int64_t kTileBytes = 64 * kTile;

// What LDTILECFG reads (Intel's manual, volume 1, chapter 18).
struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
static_assert(sizeof(TileConfig) == 64);

// Ours for a call. Others on this thread (oneDNN) remember what they had configured.
class TilesInUse {
 public:
  TilesInUse() {
    const TileConfig ours;
    _tile_storeconfig(&before_);
    _tile_loadconfig(&ours);
  }
  ~TilesInUse() {
    if (before_.palette == 0)
      _tile_release();
    else
      _tile_loadconfig(&before_);
  }
  TilesInUse(const TilesInUse&) = delete;
  TilesInUse& operator=(const TilesInUse&) = delete;

 private:
  TileConfig before_;
};

// Where a tile of `a` is loaded from: from `a` itself, or, where rows or depths are missing, from a
// copy that zeros fill up.
class Rows {
 public:
  Rows(const bf16* a, int64_t lda, int64_t rows, int64_t depth)
      : a_(a), lda_(lda), rows_(rows < kTile ? rows : kTile), depth_(depth) {
    if (rows_ < kTile) std::memset(copy_, 0, sizeof copy_);
  }

  struct Source {
    const bf16* first;
    int64_t stride_bytes;
  };
  Source at(int64_t k) {
    const int64_t depths = depth_ - k < kDepths ? depth_ - k : kDepths;
    if (rows_ == kTile && depths == kDepths) return {a_ + k, lda_ * 2};
    for (int64_t r = 0; r < rows_; ++r) {
      if (depths < kDepths) std::memset(copy_ + r * kDepths, 0, kDepths * sizeof(bf16));
      std::memcpy(copy_ + r * kDepths, a_ + r * lda_ + k, depths * sizeof(bf16));
    }
    return {copy_, 64};
  }

 private:
  const bf16* a_;
  int64_t lda_, rows_, depth_;
  alignas(64) bf16 copy_[kTile * kDepths];
};

// y = sums + bias, for the rows and columns of a tile that are there.
template <class Out>
void put(const float* sums, const bf16* bias, int64_t rows, int64_t columns, Out* y, int64_t ldy) {
  v16 start{};
  if (bias != nullptr) start = columns >= kTile ? load(bias) : load_part(bias, columns);
  for (int64_t r = 0; r < kTile && r < rows; ++r) {
    const v16 x = load(sums + r * kTile) + start;
    if (columns >= kTile)
      store(y + r * ldy, x);
    else
      store_part(y + r * ldy, x, columns);
  }
}

// Up to 16 * R rows and 16 * P columns. Tiles 0 to 3 hold sums, 4 and 5 rows, 6 and 7 panels.
template <int R, int P, class Out>
void product(const bf16* a, int64_t lda, const bf16* packed, const bf16* bias, int64_t rows,
             int64_t depth, int64_t columns, Out* y, int64_t ldy) {
  const int64_t panel_size = packed_depth<bf16>(depth) * kLanes;
  Rows upper(a, lda, rows, depth),
      lower(a + kTile * lda, lda, R == 2 ? rows - kTile : kTile, depth);
  _tile_zero(0);
  if constexpr (P == 2) _tile_zero(1);
  if constexpr (R == 2) _tile_zero(2);
  if constexpr (R == 2 && P == 2) _tile_zero(3);
  for (int64_t k = 0; k < depth; k += kDepths) {
    const Rows::Source rows0 = upper.at(k);
    _tile_loadd(4, rows0.first, rows0.stride_bytes);
    _tile_loadd(6, packed + k * kLanes, 64);
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (P == 2) {
      _tile_loadd(7, packed + panel_size + k * kLanes, 64);
      _tile_dpbf16ps(1, 4, 7);
    }
    if constexpr (R == 2) {
      const Rows::Source rows1 = lower.at(k);
      _tile_loadd(5, rows1.first, rows1.stride_bytes);
      _tile_dpbf16ps(2, 5, 6);
      if constexpr (P == 2) _tile_dpbf16ps(3, 5, 7);
    }
  }
  alignas(64) float sums[kTile * kTile];
  const bf16* const right = bias == nullptr ? nullptr : bias + kTile;
  _tile_stored(0, sums, 64);
  put(sums, bias, rows, columns, y, ldy);
  if constexpr (P == 2) {
    _tile_stored(1, sums, 64);
    put(sums, right, rows, columns - kTile, y + kTile, ldy);
  }
  if constexpr (R == 2) {
    _tile_stored(2, sums, 64);
    put(sums, bias, rows - kTile, columns, y + kTile * ldy, ldy);
  }
  if constexpr (R == 2 && P == 2) {
    _tile_stored(3, sums, 64);
    put(sums, right, rows - kTile, columns - kTile, y + kTile * ldy + kTile, ldy);
  }
}

template <class Out>
void gemm(const bf16* a, int64_t lda, const bf16* packed, const bf16* bias, int64_t rows,
          int64_t depth, int64_t columns, Out* y, int64_t ldy) {
  constexpr int64_t kBlockRows = 256;  // rows of `a` that stay in the second-level cache
  const TilesInUse tiles;
  for (int64_t block = 0; block < rows; block += kBlockRows) {
    const int64_t block_end = block + kBlockRows < rows ? block + kBlockRows : rows;
    for (int64_t c = 0; c < columns; c += 2 * kTile) {
      const bool two = columns - c > kTile;
      const bf16* panel = packed + c * packed_depth<bf16>(depth);
      for (int64_t r = block; r < block_end; r += 2 * kTile) {
        const int64_t left = block_end - r;
        const auto part = left > kTile ? (two ? product<2, 2, Out> : product<2, 1, Out>)
                                       : (two ? product<1, 2, Out> : product<1, 1, Out>);
        part(a + r * lda, lda, panel, bias == nullptr ? nullptr : bias + c, left, depth,
             columns - c, y + r * ldy + c, ldy);
      }
    }
  }
}

}  // namespace

bool has_amx() {
  constexpr int kTileData = 18;  // the state component that a process must ask for
  static const bool granted = __builtin_cpu_supports("amx-tile") &&
                              __builtin_cpu_supports("amx-bf16") &&
                              syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, kTileData) == 0;
  return granted;
}

const Table& amx_table() {
  static const Table table = [] {
    Table t = avx512_table();
    t.name = "amx";
    t.b16.gemm = gemm<bf16>;
    t.b16.gemm_wide = gemm<float>;
    return t;
  }();
  return table;
}

}  // namespace tracewise::kernels
