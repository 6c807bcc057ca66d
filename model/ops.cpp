#include "model/ops.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cmath>

#include "messages/check.hpp"
#include "model/products.hpp"

namespace tracewise::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using Tensors = torch::autograd::variable_list;

const kernels::Table& table() { return kernels::table(); }

bool needs_gradient(const at::Tensor& x) {
  return c10::GradMode::is_enabled() && x.requires_grad();
}

// A projection without bias passes an empty one: autograd takes no undefined inputs.
struct LinearFunction : Function<LinearFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& weight,
                            const at::Tensor& bias, bool wide) {
    ctx->save_for_backward({x, weight});
    return multiply(x, pack(weight), bias, weight.size(0), wide);
  }

  static Tensors backward(AutogradContext* ctx, Tensors gradients) {
    const Tensors saved = ctx->get_saved_variables();
    const at::Tensor& x = saved[0];
    const at::Tensor& weight = saved[1];
    const at::Tensor dy = gradients[0].to(x.scalar_type()).contiguous();
    at::Tensor dx, dweight, dbias;
    if (ctx->needs_input_grad(0)) dx = multiply(dy, pack_rows(weight), {}, weight.size(1));
    if (ctx->needs_input_grad(1)) dweight = multiply_transposed(dy, x);
    if (ctx->needs_input_grad(2)) dbias = dy.sum(0);
    return {dx, dweight, dbias, {}};
  }
};

// With W = W0 + s B A and dW = dy^T x, dA = s B^T dW = s (dy B)^T x and dB = s dW A^T =
// s dy^T (x A^T): nothing of W's size is computed for them. In x's dtype, like all gradients.
struct LowRankFunction : Function<LowRankFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& weight,
                            const at::Tensor& bias, const at::Tensor& a, const at::Tensor& b,
                            double scale) {
    ctx->save_for_backward({x, weight, a, b});
    ctx->saved_data["scale"] = scale;
    if (on_kernels(x)) return multiply(x, pack(weight), bias, weight.size(0));
    return at::linear(x, weight, bias.numel() > 0 ? std::optional(bias) : std::nullopt);
  }

  static Tensors backward(AutogradContext* ctx, Tensors gradients) {
    const Tensors saved = ctx->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1];
    const at::Tensor dy = gradients[0].contiguous();
    const double scale = ctx->saved_data["scale"].toDouble();
    at::Tensor dx, da, db;
    if (ctx->needs_input_grad(0))
      dx = on_kernels(x) ? multiply(dy, pack_rows(weight), {}, weight.size(1)) : dy.matmul(weight);
    if (on_kernels(x) && x.scalar_type() == at::kFloat) {
      const int64_t rank = saved[2].size(0);
      da = multiply_narrow(x, multiply(dy, pack_rows(saved[3]), {}, rank)).t().contiguous();
      db = multiply_narrow(dy, multiply(x, pack(saved[2]), {}, rank));
    } else {
      const at::Tensor a = saved[2].to(x.scalar_type()), b = saved[3].to(x.scalar_type());
      da = dy.matmul(b).t().matmul(x).to(at::kFloat);
      db = dy.t().matmul(x.matmul(a.t())).to(at::kFloat);
    }
    return {dx, {}, {}, da.mul_(scale), db.mul_(scale), {}};
  }
};

struct RmsNormFunction : Function<RmsNormFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& weight,
                            double eps) {
    const int64_t width = x.size(-1);
    const int64_t rows = x.numel() / width;
    at::Tensor y = at::empty_like(x);
    at::Tensor rstd = at::empty({rows}, x.options().dtype(at::kFloat));
    with_kernels(x, [&]<class T>(const kernels::TableOf<T>& t) {
      at::parallel_for(0, rows, kElementGrain / width + 1, [&](int64_t begin, int64_t end) {
        t.rms_norm(data<T>(x) + begin * width, data<T>(weight), end - begin, width,
                   static_cast<float>(eps), data<T>(y) + begin * width, data(rstd) + begin);
      });
    });
    ctx->save_for_backward({x, weight, rstd});
    return y;
  }

  static Tensors backward(AutogradContext* ctx, Tensors gradients) {
    const Tensors saved = ctx->get_saved_variables();
    const at::Tensor& x = saved[0];
    const at::Tensor dy = gradients[0].contiguous();
    const int64_t width = x.size(-1);
    const int64_t rows = x.numel() / width;
    // Partial sums over chunks of a fixed size: the same bits for any number of threads.
    constexpr int64_t kChunk = 512;
    const int64_t chunks = (rows + kChunk - 1) / kChunk;
    at::Tensor dx = at::empty_like(x);
    at::Tensor dweight = at::zeros({chunks, width}, x.options().dtype(at::kFloat));
    with_kernels(x, [&]<class T>(const kernels::TableOf<T>& t) {
      at::parallel_for(0, chunks, 1, [&](int64_t begin, int64_t end) {
        for (int64_t c = begin; c < end; ++c) {
          const int64_t row = c * kChunk;
          t.rms_norm_backward(data<T>(dy) + row * width, data<T>(x) + row * width,
                              data<T>(saved[1]), data(saved[2]) + row, std::min(kChunk, rows - row),
                              width, data<T>(dx) + row * width, data(dweight) + c * width);
        }
      });
    });
    return {dx, dweight.sum(0).to(x.scalar_type()), {}};
  }
};

at::Tensor rotate(const at::Tensor& x, const at::Tensor& positions, const at::Tensor& cos,
                  const at::Tensor& sin, float sign) {
  const int64_t heads = x.size(1);
  const int64_t head_dim = x.size(2);
  at::Tensor y = at::empty_like(x);
  const int64_t row = heads * head_dim;
  with_kernels(x, [&]<class T>(const kernels::TableOf<T>& t) {
    at::parallel_for(0, x.size(0), kElementGrain / row + 1, [&](int64_t begin, int64_t end) {
      t.rope(data<T>(x) + begin * row, positions.data_ptr<int64_t>() + begin, data(cos), data(sin),
             end - begin, heads, head_dim, sign, data<T>(y) + begin * row);
    });
  });
  return y;
}

struct RopeFunction : Function<RopeFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& positions,
                            const at::Tensor& cos, const at::Tensor& sin) {
    ctx->save_for_backward({positions, cos, sin});
    return rotate(x, positions, cos, sin, 1);
  }
  static Tensors backward(AutogradContext* ctx, Tensors gradients) {
    const Tensors saved = ctx->get_saved_variables();
    return {rotate(gradients[0].contiguous(), saved[0], saved[1], saved[2], -1), {}, {}, {}};
  }
};

struct SwigluFunction : Function<SwigluFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& gate, const at::Tensor& up) {
    ctx->save_for_backward({gate, up});
    at::Tensor y = at::empty_like(gate);
    with_kernels(gate, [&]<class T>(const kernels::TableOf<T>& t) {
      at::parallel_for(0, gate.numel(), kElementGrain, [&](int64_t begin, int64_t end) {
        t.swiglu(data<T>(gate) + begin, data<T>(up) + begin, end - begin, data<T>(y) + begin);
      });
    });
    return y;
  }
  static Tensors backward(AutogradContext* ctx, Tensors gradients) {
    const Tensors saved = ctx->get_saved_variables();
    const at::Tensor dy = gradients[0].contiguous();
    at::Tensor dgate = at::empty_like(saved[0]);
    at::Tensor dup = at::empty_like(saved[1]);
    with_kernels(dy, [&]<class T>(const kernels::TableOf<T>& t) {
      at::parallel_for(0, dy.numel(), kElementGrain, [&](int64_t begin, int64_t end) {
        t.swiglu_backward(data<T>(dy) + begin, data<T>(saved[0]) + begin, data<T>(saved[1]) + begin,
                          end - begin, data<T>(dgate) + begin, data<T>(dup) + begin);
      });
    });
    return {dgate, dup};
  }
};

// Calls f(head, scratch) for every sequence and query head; the query heads that share a key head
// run on one thread, because they add to the same gradient.
template <class Fill>
void for_each_head(const at::Tensor& q, const at::Tensor& k, const std::vector<int64_t>& starts,
                   int64_t window, const Fill& fill) {
  const int64_t heads = q.size(1);
  const int64_t kv_heads = k.size(1);
  const int64_t head_dim = q.size(2);
  const int64_t sequences = static_cast<int64_t>(starts.size()) - 1;
  at::parallel_for(0, sequences * kv_heads, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> scratch;
    for (int64_t i = begin; i < end; ++i) {
      const int64_t start = starts[i / kv_heads];
      const int64_t kv_head = i % kv_heads;
      kernels::AttentionHead head;
      head.tokens = starts[i / kv_heads + 1] - start;
      head.head_dim = head_dim;
      head.window = window;
      head.scale = 1.0f / std::sqrt(static_cast<float>(head_dim));
      head.q_stride = heads * head_dim;
      head.kv_stride = kv_heads * head_dim;
      head.lse_stride = heads;
      const auto size = static_cast<size_t>(kernels::attention_scratch_size(head.tokens, head_dim));
      if (scratch.size() < size) scratch.resize(size);
      const int64_t shared = heads / kv_heads;
      for (int64_t h = kv_head * shared; h < (kv_head + 1) * shared; ++h) {
        fill(head, start * head.q_stride + h * head_dim,
             start * head.kv_stride + kv_head * head_dim, start * heads + h, scratch.data());
      }
    }
  });
}

// Scores, weights and their gradients are fp32 whatever the tensors are: a bf16 number is one of
// fp32, and only the results are rounded.
struct AttentionFunction : Function<AttentionFunction> {
  static at::Tensor wide(const at::Tensor& x) { return x.to(at::kFloat); }

  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& q, const at::Tensor& k,
                            const at::Tensor& v, const std::vector<int64_t>& starts,
                            int64_t window) {
    const at::Tensor wide_q = wide(q), wide_k = wide(k), wide_v = wide(v);
    const at::Tensor wide_out = at::empty_like(wide_q);
    at::Tensor lse = at::empty({q.size(0), q.size(1)}, wide_q.options());
    for_each_head(q, k, starts, window,
                  [&](kernels::AttentionHead head, int64_t at_q, int64_t at_kv, int64_t at_lse,
                      float* scratch) {
                    head.q = data(wide_q) + at_q;
                    head.k = data(wide_k) + at_kv;
                    head.v = data(wide_v) + at_kv;
                    head.out = data(wide_out) + at_q;
                    head.lse = data(lse) + at_lse;
                    table().causal_attention(head, scratch);
                  });
    at::Tensor out = wide_out.to(q.scalar_type());
    ctx->save_for_backward({q, k, v, out, lse});
    ctx->saved_data["starts"] = starts;
    ctx->saved_data["window"] = window;
    return out;
  }

  static Tensors backward(AutogradContext* ctx, Tensors gradients) {
    const Tensors saved = ctx->get_saved_variables();
    const std::vector<int64_t> starts = ctx->saved_data["starts"].toIntVector();
    const at::Tensor q = wide(saved[0]), k = wide(saved[1]), v = wide(saved[2]),
                     out = wide(saved[3]), dout = wide(gradients[0].contiguous());
    const at::Tensor dq = at::empty_like(q), dk = at::zeros_like(k), dv = at::zeros_like(v);
    for_each_head(q, k, starts, ctx->saved_data["window"].toInt(),
                  [&](kernels::AttentionHead head, int64_t at_q, int64_t at_kv, int64_t at_lse,
                      float* scratch) {
                    head.q = data(q) + at_q;
                    head.k = data(k) + at_kv;
                    head.v = data(v) + at_kv;
                    head.out = data(out) + at_q;
                    head.lse = data(saved[4]) + at_lse;
                    head.dout = data(dout) + at_q;
                    head.dq = data(dq) + at_q;
                    head.dk = data(dk) + at_kv;
                    head.dv = data(dv) + at_kv;
                    table().causal_attention_backward(head, scratch);
                  });
    const auto narrow = [&](const at::Tensor& x) { return x.to(saved[0].scalar_type()); };
    return {narrow(dq), narrow(dk), narrow(dv), {}, {}};
  }
};

}  // namespace

bool on_kernels(const at::Tensor& x) {
  return x.device().is_cpu() && (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16);
}

void freeze(LinearWeight& weight) {
  if (on_kernels(weight.weight)) weight.packed = pack(weight.weight.detach());
}

at::Tensor merged(const LowRank& l) {
  // The scale goes into b, so that what is added is one rounded product whoever adds it.
  const at::Tensor b = l.b * l.scale;
  const at::Tensor sum =
      on_kernels(b) ? multiply(b, pack_rows(l.a), {}, l.a.size(1)) : b.matmul(l.a);
  return (l.base.to(at::kFloat) + sum).to(l.base.scalar_type());
}

namespace {

at::Tensor project(const at::Tensor& x, const LinearWeight& w, bool wide) {
  if (needs_gradient(w.weight) || needs_gradient(x)) {
    return LinearFunction::apply(x.contiguous(), w.weight,
                                 w.bias.defined() ? w.bias : at::empty({0}, x.options()), wide);
  }
  return multiply(x.contiguous(), w.packed.defined() ? w.packed : pack(w.weight), w.bias,
                  w.weight.size(0), wide);
}

}  // namespace

at::Tensor linear(const at::Tensor& x, const LinearWeight& w) {
  if (w.low_rank && needs_gradient(w.low_rank->a)) {
    return LowRankFunction::apply(x.contiguous(), w.weight,
                                  w.bias.defined() ? w.bias : at::empty({0}, x.options()),
                                  w.low_rank->a, w.low_rank->b, w.low_rank->scale);
  }
  return on_kernels(x) ? project(x, w, false) : at::linear(x, w.weight, w.bias);
}

at::Tensor linear_wide(const at::Tensor& x, const LinearWeight& w) {
  TW_CHECK(!w.low_rank, "the head has no adapter");
  return on_kernels(x) ? project(x, w, true) : at::linear(x, w.weight, w.bias).to(at::kFloat);
}

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  if (on_kernels(x)) return RmsNormFunction::apply(x.contiguous(), weight, eps);
  const at::Tensor wide = x.to(at::kFloat);
  const at::Tensor scale = at::rsqrt(wide.pow(2).mean(-1, true) + eps);
  return weight * (wide * scale).to(x.scalar_type());
}

at::Tensor rope(const at::Tensor& x, const at::Tensor& positions, const RopeTable& table) {
  if (on_kernels(x)) return RopeFunction::apply(x.contiguous(), positions, table.cos, table.sin);
  const at::Tensor cos = table.cos.index_select(0, positions).unsqueeze(1).to(x.scalar_type());
  const at::Tensor sin = table.sin.index_select(0, positions).unsqueeze(1).to(x.scalar_type());
  const auto halves = x.chunk(2, -1);
  return at::cat({halves[0] * cos - halves[1] * sin, halves[1] * cos + halves[0] * sin}, -1);
}

at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up) {
  if (on_kernels(gate)) return SwigluFunction::apply(gate.contiguous(), up.contiguous());
  return at::silu(gate) * up;
}

at::Tensor packed_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            const std::vector<int64_t>& starts, int64_t window) {
  TW_CHECK(starts.size() >= 2 && starts.back() == q.size(0), "starts do not cover the tokens");
  if (on_kernels(q)) {
    return AttentionFunction::apply(q.contiguous(), k.contiguous(), v.contiguous(), starts, window);
  }
  const int64_t shared = q.size(1) / k.size(1);
  std::vector<at::Tensor> outs;
  for (size_t s = 0; s + 1 < starts.size(); ++s) {
    const auto sequence = [&](const at::Tensor& x) {  // [1, heads, T, head_dim]
      return x.slice(0, starts[s], starts[s + 1]).transpose(0, 1).unsqueeze(0);
    };
    const int64_t tokens = starts[s + 1] - starts[s];
    std::optional<at::Tensor> mask;  // [tokens, tokens], where some do not see all before them
    if (window > 0 && window < tokens)
      mask = at::ones({tokens, tokens}, q.options().dtype(at::kBool)).tril().triu(1 - window);
    const at::Tensor out = at::scaled_dot_product_attention(
        sequence(q), sequence(k).repeat_interleave(shared, 1),
        sequence(v).repeat_interleave(shared, 1), mask, 0.0, /*is_causal=*/!mask);
    outs.push_back(out.squeeze(0).transpose(0, 1));
  }
  return at::cat(outs, 0);
}

}  // namespace tracewise::ops
