// The kernels of bf16 tensors: the same sums as of fp32, on inputs and results of 8 bits.
#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <limits>

#include "tests/model/kernel_tables.hpp"

using namespace tracewise;
using kernels::bf16;
using kernels::Table;
using testing::random_floats;
using testing::tables;

namespace {

float wide(bf16 x) {
  const uint32_t bits = static_cast<uint32_t>(x.bits) << 16;
  float y;
  std::memcpy(&y, &bits, sizeof y);
  return y;
}

// The nearest bf16, of two as near the one with an even last bit, in double arithmetic.
bf16 nearest(double x) {
  if (x == 0 || !std::isfinite(x)) return {static_cast<uint16_t>(x == 0 ? 0 : 0x7f80)};
  int exponent;
  const double fraction = std::frexp(x, &exponent);  // 8 bits of it stay
  const auto rounded = static_cast<float>(std::ldexp(std::nearbyint(fraction * 256), exponent - 8));
  uint32_t bits;
  std::memcpy(&bits, &rounded, sizeof bits);
  return {static_cast<uint16_t>(bits >> 16)};
}

std::vector<bf16> narrow(const std::vector<float>& x) {
  std::vector<bf16> y;
  for (const float v : x) y.push_back(nearest(v));
  return y;
}

std::vector<bf16> random_bf16(size_t n, uint32_t seed) { return narrow(random_floats(n, seed)); }

std::vector<double> as_doubles(const std::vector<bf16>& x) {
  std::vector<double> y;
  for (const bf16 v : x) y.push_back(wide(v));
  return y;
}

// Half the distance of neighbours at x, and what fp32 sums lose.
bool is_rounded(bf16 y, double x) { return std::abs(wide(y) - x) <= std::abs(x) / 256 + 1e-5; }

struct Product {
  int64_t rows, depth, columns;
  std::vector<bf16> a, w, bias;
  std::vector<double> expected;
  Product(int64_t r, int64_t d, int64_t c)
      : rows(r),
        depth(d),
        columns(c),
        a(random_bf16(r * d, 1)),
        w(random_bf16(c * d, 2)),
        bias(random_bf16(c, 3)) {
    const auto x = as_doubles(a), y = as_doubles(w), start = as_doubles(bias);
    for (int64_t i = 0; i < r; ++i)
      for (int64_t j = 0; j < c; ++j) {
        double sum = start[j];
        for (int64_t k = 0; k < d; ++k) sum += x[i * d + k] * y[j * d + k];
        expected.push_back(sum);
      }
  }

  std::vector<bf16> packed(const Table& table) const {
    std::vector<bf16> p(kernels::packed_size<bf16>(columns, depth));
    table.b16.pack_transposed(w.data(), columns, depth, p.data());
    return p;
  }
};

}  // namespace

TEST_CASE("a bf16 product equals the plain one for every remainder of rows, depth and columns") {
  for (const Table* table : tables()) {
    for (int64_t rows : {1, 15, 16, 17, 31, 33, 250, 300}) {
      for (int64_t depth : {1, 32, 37, 96}) {
        for (int64_t columns : {1, 16, 24, 33, 64}) {
          const Product p(rows, depth, columns);
          const auto packed = p.packed(*table);
          std::vector<float> sums(rows * columns);
          table->b16.gemm_wide(p.a.data(), depth, packed.data(), p.bias.data(), rows, depth,
                               columns, sums.data(), columns);
          INFO(table->name << " " << rows << "x" << depth << "x" << columns);
          CHECK(testing::largest_difference(sums, p.expected) < 2e-5);
          std::vector<bf16> y(rows * columns);
          table->b16.gemm(p.a.data(), depth, packed.data(), p.bias.data(), rows, depth, columns,
                          y.data(), columns);
          bool rounded = true;
          for (size_t i = 0; i < y.size(); ++i) rounded &= y[i].bits == nearest(sums[i]).bits;
          CHECK(rounded);
        }
      }
    }
  }
}

TEST_CASE("rows packed as they lie and transposed ones give the same panels") {
  for (const Table* table : tables()) {
    const int64_t depth = 37, columns = 41;
    const auto w = random_bf16(depth * columns, 1);  // [columns, depth]
    std::vector<bf16> rows(depth * columns);
    for (int64_t c = 0; c < columns; ++c)
      for (int64_t k = 0; k < depth; ++k) rows[k * columns + c] = w[c * depth + k];
    const size_t size = kernels::packed_size<bf16>(columns, depth);
    std::vector<bf16> a(size, bf16{1}), b(size, bf16{2});
    table->b16.pack_transposed(w.data(), columns, depth, a.data());
    table->b16.pack_rows(rows.data(), columns, depth, columns, b.data());
    CHECK(std::memcmp(a.data(), b.data(), size * sizeof(bf16)) == 0);
    std::vector<bf16> last(kernels::packed_size<bf16>(9, depth), bf16{3});
    table->b16.pack_rows(rows.data() + 32, columns, depth, 9, last.data());  // the third panel
    CHECK(std::memcmp(last.data(), b.data() + 2 * last.size(), last.size() * sizeof(bf16)) == 0);
    CHECK(a[0].bits == w[0].bits);  // column 0: depths 0 and 1 side by side,
    CHECK(a[1].bits == w[1].bits);
    CHECK(a[2].bits == w[depth].bits);  // then column 1's
    CHECK(a[32].bits == w[2].bits);     // after 16 columns the next two depths
    CHECK(a[size - 1].bits == 0);       // of a column that is not there
  }
}

TEST_CASE("a row of a bf16 product has the same bits whatever rows stand beside it") {
  const Product p(40, 100, 72);
  for (const Table* table : tables()) {
    const auto packed = p.packed(*table);
    std::vector<float> together(p.rows * p.columns), alone(p.columns);
    table->b16.gemm_wide(p.a.data(), p.depth, packed.data(), nullptr, p.rows, p.depth, p.columns,
                         together.data(), p.columns);
    for (int64_t r = 0; r < p.rows; ++r) {
      table->b16.gemm_wide(p.a.data() + r * p.depth, p.depth, packed.data(), nullptr, 1, p.depth,
                           p.columns, alone.data(), p.columns);
      CHECK(std::equal(alone.begin(), alone.end(), together.begin() + r * p.columns));
    }
  }
}

TEST_CASE("a NaN in a bf16 row reaches its results and no other row's") {
  Product p(20, 64, 24);
  p.a[3 * p.depth + 5] = {0x7fc0};
  for (const Table* table : tables()) {
    std::vector<bf16> y(p.rows * p.columns);
    table->b16.gemm(p.a.data(), p.depth, p.packed(*table).data(), nullptr, p.rows, p.depth,
                    p.columns, y.data(), p.columns);
    INFO(table->name);
    for (int64_t i = 0; i < p.rows * p.columns; ++i)
      CHECK(std::isnan(wide(y[i])) == (i / p.columns == 3));
  }
}

TEST_CASE("the norm, its gradient and the gated unit of bf16 are the rounded formulas") {
  const int64_t rows = 3, width = 37;
  const auto x = random_bf16(rows * width, 1), w = random_bf16(width, 2),
             dy = random_bf16(rows * width, 3);
  const auto dx = as_doubles(x), dw = as_doubles(w), ddy = as_doubles(dy);
  for (const Table* table : tables()) {
    INFO(table->name);
    std::vector<bf16> y(rows * width), gradient(rows * width), unit(rows * width);
    std::vector<float> rstd(rows), weight_gradient(width, 1.0f);
    table->b16.rms_norm(x.data(), w.data(), rows, width, 1e-5f, y.data(), rstd.data());
    table->b16.rms_norm_backward(dy.data(), x.data(), w.data(), rstd.data(), rows, width,
                                 gradient.data(), weight_gradient.data());
    table->b16.swiglu(x.data(), dy.data(), rows * width, unit.data());
    std::vector<double> summed(width, 1.0);
    for (int64_t r = 0; r < rows; ++r) {
      double squares = 0, dot = 0;
      for (int64_t i = 0; i < width; ++i) squares += dx[r * width + i] * dx[r * width + i];
      const double s = 1 / std::sqrt(squares / width + 1e-5);
      for (int64_t i = 0; i < width; ++i) dot += ddy[r * width + i] * dw[i] * dx[r * width + i];
      for (int64_t i = 0; i < width; ++i) {
        const int64_t at = r * width + i;
        CHECK(is_rounded(y[at], dx[at] * s * dw[i]));
        CHECK(is_rounded(gradient[at], ddy[at] * dw[i] * s - dx[at] * dot * s * s * s / width));
        CHECK(is_rounded(unit[at], dx[at] / (1 + std::exp(-dx[at])) * ddy[at]));
        summed[i] += ddy[at] * dx[at] * s;
      }
    }
    CHECK(testing::largest_difference(weight_gradient, summed) < 1e-5);
  }
}

TEST_CASE("a token over bf16 panels attends as over the same numbers in fp32") {
  const int64_t heads = 6, kv_heads = 2, hd = 20, tokens = 37;
  const auto q = random_floats(heads * hd, 1);
  const auto k = random_bf16(tokens * kv_heads * hd, 2), v = random_bf16(tokens * kv_heads * hd, 3);
  for (const Table* table : tables()) {
    const auto attend = [&]<class T>(const kernels::TableOf<T>& t, const std::vector<T>& keys,
                                     const std::vector<T>& values) {
      const int64_t panels = kernels::round_up(tokens, kernels::kLanes) / kernels::kLanes;
      const int64_t key_size = kernels::key_panel_size(hd),
                    value_size = kernels::value_panel_size(hd);
      std::vector<T> key_memory(panels * kv_heads * key_size),
          value_memory(panels * kv_heads * value_size);
      for (int64_t i = 0; i < tokens; ++i)
        for (int64_t h = 0; h < kv_heads; ++h) {
          const int64_t panel = i / kernels::kLanes * kv_heads + h, from = (i * kv_heads + h) * hd;
          t.write_key(keys.data() + from, hd, i % kernels::kLanes,
                      key_memory.data() + panel * key_size);
          t.write_value(values.data() + from, hd, i % kernels::kLanes,
                        value_memory.data() + panel * value_size);
        }
      std::vector<const T*> key_panels, value_panels;
      for (int64_t p = 0; p < panels; ++p) {
        key_panels.push_back(key_memory.data() + p * kv_heads * key_size);
        value_panels.push_back(value_memory.data() + p * kv_heads * value_size);
      }
      std::vector<float> out(heads * hd), scratch(kernels::attend_scratch_size(tokens));
      kernels::TokenAttention token;
      token.heads = heads, token.kv_heads = kv_heads, token.head_dim = hd, token.keys = tokens;
      token.skip = 3, token.scale = 0.3f, token.q = q.data(), token.out = out.data();
      t.attend(token, key_panels.data(), value_panels.data(), scratch.data());
      return out;
    };
    std::vector<float> wide_k, wide_v;
    for (const bf16 x : k) wide_k.push_back(wide(x));
    for (const bf16 x : v) wide_v.push_back(wide(x));
    INFO(table->name);
    CHECK(attend(table->b16, k, v) == attend(table->f32, wide_k, wide_v));
  }
}
