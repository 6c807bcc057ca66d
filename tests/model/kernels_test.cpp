// The kernels against plain loops in double, for sizes that leave partial panels and tiles, on
// every instruction set that this CPU has.
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <string>
#include <vector>

#include "tests/model/kernel_tables.hpp"

using namespace tracewise;
using kernels::Table;
using testing::largest_difference;
using testing::random_floats;
using testing::tables;

namespace {

struct Attention {
  int64_t tokens, head_dim;
  std::vector<float> q, k, v, dout;
  Attention(int64_t t, int64_t hd)
      : tokens(t),
        head_dim(hd),
        q(random_floats(t * hd, 1)),
        k(random_floats(t * hd, 2)),
        v(random_floats(t * hd, 3)),
        dout(random_floats(t * hd, 4)) {}

  // Of key j >= first among those that query t sees.
  double weight(int64_t t, int64_t j, double scale, int64_t first = 0) const {
    double denominator = 0;
    for (int64_t i = first; i <= t; ++i) denominator += std::exp(scale * dot(q, t, k, i));
    return std::exp(scale * dot(q, t, k, j)) / denominator;
  }
  double dot(const std::vector<float>& a, int64_t i, const std::vector<float>& b, int64_t j) const {
    double s = 0;
    for (int64_t d = 0; d < head_dim; ++d)
      s += static_cast<double>(a[i * head_dim + d]) * b[j * head_dim + d];
    return s;
  }
};

}  // namespace

TEST_CASE("a packed product equals the plain one for every remainder of rows and columns") {
  for (const Table* table : tables()) {
    for (int64_t rows : {1, 2, 11, 12, 13, 250}) {
      for (int64_t columns : {1, 16, 24, 33, 96}) {
        const int64_t depth = 37;
        const auto a = random_floats(rows * depth, 1);
        const auto w = random_floats(columns * depth, 2);
        const auto bias = random_floats(columns, 3);
        std::vector<float> packed(kernels::packed_size<float>(columns, depth));
        table->f32.pack_transposed(w.data(), columns, depth, packed.data());
        std::vector<float> y(rows * columns);
        table->f32.gemm(a.data(), depth, packed.data(), bias.data(), rows, depth, columns, y.data(),
                        columns);
        std::vector<double> expected(rows * columns);
        for (int64_t r = 0; r < rows; ++r)
          for (int64_t c = 0; c < columns; ++c) {
            double s = bias[c];
            for (int64_t k = 0; k < depth; ++k)
              s += static_cast<double>(a[r * depth + k]) * w[c * depth + k];
            expected[r * columns + c] = s;
          }
        INFO(table->name << " " << rows << "x" << columns);
        CHECK(largest_difference(y, expected) < 2e-5);
      }
    }
  }
}

TEST_CASE("a row of a product has the same bits whatever rows stand beside it") {
  const int64_t depth = 96, columns = 192, rows = 64;
  const auto a = random_floats(rows * depth, 1);
  const auto w = random_floats(columns * depth, 2);
  for (const Table* table : tables()) {
    std::vector<float> packed(kernels::packed_size<float>(columns, depth));
    table->f32.pack_transposed(w.data(), columns, depth, packed.data());
    std::vector<float> together(rows * columns), alone(columns);
    table->f32.gemm(a.data(), depth, packed.data(), nullptr, rows, depth, columns, together.data(),
                    columns);
    for (int64_t r = 0; r < rows; ++r) {
      table->f32.gemm(a.data() + r * depth, depth, packed.data(), nullptr, 1, depth, columns,
                      alone.data(), columns);
      CHECK(std::equal(alone.begin(), alone.end(), together.begin() + r * columns));
    }
  }
}

TEST_CASE("a product with the first factor transposed adds to what is there") {
  for (const Table* table : tables()) {
    for (int64_t m : {1, 12, 25}) {
      for (int64_t n : {5, 16, 56}) {
        const int64_t depth = 300;
        const auto a = random_floats(depth * m, 1);
        const auto b = random_floats(depth * n, 2);
        std::vector<float> c = random_floats(m * n, 3);
        std::vector<double> expected(c.begin(), c.end());
        for (int64_t i = 0; i < m; ++i)
          for (int64_t j = 0; j < n; ++j)
            for (int64_t k = 0; k < depth; ++k)
              expected[i * n + j] += static_cast<double>(a[k * m + i]) * b[k * n + j];
        table->gemm_transposed_a(a.data(), b.data(), depth, m, n, 0, m, c.data());
        INFO(table->name << " " << m << "x" << n);
        CHECK(largest_difference(c, expected) < 1e-4);
      }
    }
  }
}

TEST_CASE("packed causal attention equals softmax written out") {
  for (const Table* table : tables()) {
    for (int64_t tokens : {1, 15, 16, 33}) {
      for (int64_t hd : {8, 24, 64, 80}) {
        const Attention x(tokens, hd);
        const double scale = 1 / std::sqrt(static_cast<double>(hd));
        std::vector<double> expected(tokens * hd);
        for (int64_t t = 0; t < tokens; ++t)
          for (int64_t j = 0; j <= t; ++j)
            for (int64_t d = 0; d < hd; ++d)
              expected[t * hd + d] += x.weight(t, j, scale) * x.v[j * hd + d];
        std::vector<float> out(tokens * hd), lse(tokens);
        std::vector<float> scratch(kernels::attention_scratch_size(tokens, hd));
        kernels::AttentionHead head;
        head.tokens = tokens;
        head.head_dim = head.q_stride = head.kv_stride = hd;
        head.lse_stride = 1;
        head.scale = static_cast<float>(scale);
        head.q = x.q.data(), head.k = x.k.data(), head.v = x.v.data();
        head.out = out.data(), head.lse = lse.data();
        table->causal_attention(head, scratch.data());
        INFO(table->name << " T=" << tokens << " hd=" << hd);
        CHECK(largest_difference(out, expected) < 1e-5);
      }
    }
  }
}

// The attention of one head over `tokens` tokens that see `window` keys, and its gradients.
void check_gradients(int64_t tokens, int64_t window) {
  const int64_t hd = 24;
  const Attention x(tokens, hd);
  const double scale = 0.2;
  std::vector<double> expected(tokens * hd), dq(tokens * hd), dk(tokens * hd), dv(tokens * hd);
  const auto first = [&](int64_t t) {
    return window == 0 ? 0 : std::max<int64_t>(0, t + 1 - window);
  };
  for (int64_t t = 0; t < tokens; ++t) {
    double delta = 0;
    for (int64_t j = first(t); j <= t; ++j)
      delta += x.weight(t, j, scale, first(t)) * x.dot(x.dout, t, x.v, j);
    for (int64_t j = first(t); j <= t; ++j) {
      const double p = x.weight(t, j, scale, first(t));
      const double ds = p * (x.dot(x.dout, t, x.v, j) - delta) * scale;
      for (int64_t d = 0; d < hd; ++d) {
        dq[t * hd + d] += ds * x.k[j * hd + d];
        dk[j * hd + d] += ds * x.q[t * hd + d];
        dv[j * hd + d] += p * x.dout[t * hd + d];
        expected[t * hd + d] += p * x.v[j * hd + d];
      }
    }
  }
  for (const Table* table : tables()) {
    std::vector<float> out(tokens * hd), lse(tokens), gq(tokens * hd), gk(tokens * hd),
        gv(tokens * hd);
    std::vector<float> scratch(kernels::attention_scratch_size(tokens, hd));
    kernels::AttentionHead head;
    head.tokens = tokens;
    head.window = window;
    head.head_dim = head.q_stride = head.kv_stride = hd;
    head.lse_stride = 1;
    head.scale = static_cast<float>(scale);
    head.q = x.q.data(), head.k = x.k.data(), head.v = x.v.data(), head.dout = x.dout.data();
    head.out = out.data(), head.lse = lse.data();
    head.dq = gq.data(), head.dk = gk.data(), head.dv = gv.data();
    table->causal_attention(head, scratch.data());
    table->causal_attention_backward(head, scratch.data());
    INFO(table->name << " window " << window);
    CHECK(largest_difference(out, expected) < 1e-5);
    CHECK(largest_difference(gq, dq) < 1e-5);
    CHECK(largest_difference(gk, dk) < 1e-5);
    CHECK(largest_difference(gv, dv) < 1e-5);
  }
}

TEST_CASE("the gradients of attention equal the derivatives written out") {
  check_gradients(19, 0);
}

TEST_CASE("a window hides the keys before it, forwards and backwards") {
  // Windows within a panel, of one and across several.
  for (const int64_t window : {1, 3, 16, 17, 21, 100}) check_gradients(57, window);
}
TEST_CASE("a token over scattered panels has the bits of the packed sequence in all its heads") {
  const int64_t tokens = 21, hd = 24, kv_heads = 3, shared = 2, heads = kv_heads * shared;
  const auto q = random_floats(tokens * heads * hd, 1),
             k = random_floats(tokens * kv_heads * hd, 2),
             v = random_floats(tokens * kv_heads * hd, 3);
  for (const Table* table : tables()) {
    std::vector<float> out(q.size()), lse(tokens * heads);
    std::vector<float> scratch(kernels::attention_scratch_size(tokens, hd));
    for (int64_t h = 0; h < heads; ++h) {
      kernels::AttentionHead head;
      head.tokens = tokens, head.head_dim = hd, head.scale = 0.25f;
      head.q_stride = heads * hd, head.kv_stride = kv_heads * hd, head.lse_stride = heads;
      head.q = &q[h * hd], head.k = &k[h / shared * hd], head.v = &v[h / shared * hd];
      head.out = &out[h * hd], head.lse = &lse[h];
      table->causal_attention(head, scratch.data());
    }
    const int64_t key_size = kernels::key_panel_size(hd),
                  value_size = kernels::value_panel_size(hd);
    std::vector<float> keys(2 * kv_heads * key_size), values(2 * kv_heads * value_size);
    // The second panel lies before the first.
    float* key_panels[] = {&keys[kv_heads * key_size], &keys[0]};
    float* value_panels[] = {&values[kv_heads * value_size], &values[0]};
    for (int64_t t = 0; t < tokens; ++t) {
      for (int64_t h = 0; h < kv_heads; ++h) {
        const int64_t from = (t * kv_heads + h) * hd;
        table->f32.write_key(&k[from], hd, t % 16, key_panels[t / 16] + h * key_size);
        table->f32.write_value(&v[from], hd, t % 16, value_panels[t / 16] + h * value_size);
      }
    }
    for (int64_t t : {0, 15, 16, 20}) {
      std::vector<float> one(heads * hd), scores(kernels::attend_scratch_size(t + 1));
      kernels::TokenAttention token;
      token.heads = heads, token.kv_heads = kv_heads, token.head_dim = hd, token.keys = t + 1;
      token.scale = 0.25f, token.q = &q[t * heads * hd], token.out = one.data();
      table->f32.attend(token, key_panels, value_panels, scores.data());
      INFO(table->name << " token " << t);
      CHECK(std::equal(one.begin(), one.end(), out.begin() + t * heads * hd));
    }
  }
}

TEST_CASE("a NaN or an infinity in a query reaches the output of its row and of no other") {
  const int64_t tokens = 21, hd = 24, bad = 18;
  for (const float poison : {std::nanf(""), INFINITY}) {
    Attention x(tokens, hd);
    x.q[bad * hd + 5] = poison;
    for (const Table* table : tables()) {
      std::vector<float> out(tokens * hd), lse(tokens);
      std::vector<float> scratch(kernels::attention_scratch_size(tokens, hd));
      kernels::AttentionHead head;
      head.tokens = tokens, head.head_dim = hd, head.scale = 0.25f;
      head.q_stride = head.kv_stride = hd, head.lse_stride = 1;
      head.q = x.q.data(), head.k = x.k.data(), head.v = x.v.data();
      head.out = out.data(), head.lse = lse.data();
      table->causal_attention(head, scratch.data());
      std::vector<float> keys(2 * kernels::key_panel_size(hd)),
          values(2 * kernels::value_panel_size(hd)), one(hd),
          scores(kernels::attend_scratch_size(tokens));
      float* key_panels[] = {&keys[0], &keys[kernels::key_panel_size(hd)]};
      float* value_panels[] = {&values[0], &values[kernels::value_panel_size(hd)]};
      for (int64_t t = 0; t < tokens; ++t) {
        table->f32.write_key(&x.k[t * hd], hd, t % 16, key_panels[t / 16]);
        table->f32.write_value(&x.v[t * hd], hd, t % 16, value_panels[t / 16]);
      }
      kernels::TokenAttention token;
      token.heads = token.kv_heads = 1, token.head_dim = hd, token.keys = bad + 1;
      token.scale = 0.25f, token.q = &x.q[bad * hd], token.out = one.data();
      table->f32.attend(token, key_panels, value_panels, scores.data());
      INFO(table->name << " " << poison);
      for (int64_t d = 0; d < hd; ++d) CHECK(std::isnan(one[d]));
      for (int64_t i = 0; i < tokens * hd; ++i) CHECK(std::isnan(out[i]) == (i / hd == bad));
    }
  }
}

TEST_CASE("the gated unit passes a NaN on, gate or factor") {
  std::vector<float> gate(17, 1.0f), up(17, 2.0f), y(17);
  gate[3] = std::nanf("");
  up[16] = std::nanf("");
  for (const Table* table : tables()) {
    table->f32.swiglu(gate.data(), up.data(), 17, y.data());
    INFO(table->name);
    for (int i = 0; i < 17; ++i) CHECK(std::isnan(y[i]) == (i == 3 || i == 16));
  }
}

TEST_CASE("the norm, its gradient and the gated unit equal their formulas") {
  const int64_t rows = 3;
  for (const Table* table : tables()) {
    for (int64_t width : {16, 24, 41}) {
      const auto x = random_floats(rows * width, 1), w = random_floats(width, 2),
                 dy = random_floats(rows * width, 3);
      std::vector<float> y(rows * width), rstd(rows), dx(rows * width), dw(width);
      table->f32.rms_norm(x.data(), w.data(), rows, width, 1e-5f, y.data(), rstd.data());
      table->f32.rms_norm_backward(dy.data(), x.data(), w.data(), rstd.data(), rows, width,
                                   dx.data(), dw.data());
      std::vector<double> ey(rows * width), edx(rows * width), edw(width);
      for (int64_t r = 0; r < rows; ++r) {
        double squares = 0, dot = 0;
        for (int64_t i = 0; i < width; ++i) squares += std::pow(x[r * width + i], 2);
        const double s = 1 / std::sqrt(squares / width + 1e-5);
        for (int64_t i = 0; i < width; ++i) dot += dy[r * width + i] * w[i] * x[r * width + i];
        for (int64_t i = 0; i < width; ++i) {
          const int64_t at = r * width + i;
          ey[at] = x[at] * s * w[i];
          edx[at] = dy[at] * w[i] * s - x[at] * dot * s * s * s / width;
          edw[i] += dy[at] * x[at] * s;
        }
      }
      INFO(table->name << " width " << width);
      CHECK(largest_difference(y, ey) < 1e-5);
      CHECK(largest_difference(dx, edx) < 1e-5);
      CHECK(largest_difference(dw, edw) < 1e-5);

      std::vector<float> gated(width), dgate(width), dup(width);
      table->f32.swiglu(x.data(), w.data(), width, gated.data());
      table->f32.swiglu_backward(dy.data(), x.data(), w.data(), width, dgate.data(), dup.data());
      std::vector<double> eg(width), edg(width), edu(width);
      for (int64_t i = 0; i < width; ++i) {
        const double s = 1 / (1 + std::exp(-static_cast<double>(x[i])));
        eg[i] = x[i] * s * w[i];
        edg[i] = dy[i] * w[i] * s * (1 + x[i] * (1 - s));
        edu[i] = dy[i] * x[i] * s;
      }
      CHECK(largest_difference(gated, eg) < 1e-5);
      CHECK(largest_difference(dgate, edg) < 1e-5);
      CHECK(largest_difference(dup, edu) < 1e-5);
    }
  }
}

#if defined(__x86_64__)
TEST_CASE("an instruction set that does not exist is bad input, named with the choices") {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(ends[1], STDERR_FILENO);
    ::setenv("TRACEWISE_ISA", "avx", 1);
    (void)kernels::table();
    ::_exit(0);
  }
  ::close(ends[1]);
  std::string said(200, 0);
  said.resize(static_cast<size_t>(::read(ends[0], said.data(), said.size())));
  ::close(ends[0]);
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 2);
  CHECK(said ==
        "tracewise: TRACEWISE_ISA is 'avx'; it can be amx avx512_bf16 avx512 avx2 generic\n");
}
#endif
