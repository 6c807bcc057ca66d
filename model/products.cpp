#include "model/products.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>

namespace tracewise::ops {
namespace {

constexpr int64_t kRowGrain = 24;  // rows of a product below which no second thread is worth it
// Rows up to which a product is a matter of reading the weights, and the elements of them for which
// a second thread is worth it.
constexpr int64_t kFewRows = 128;
constexpr int64_t kWeightGrain = 1 << 16;

// Calls f(first column, their number) for panels of columns, shared out over the threads.
template <class F>
void for_panels(int64_t columns, int64_t depth, const F& f) {
  constexpr int64_t kPanel = kernels::kLanes;
  at::parallel_for(0, kernels::round_up(columns, kPanel) / kPanel,
                   kElementGrain / (depth * kPanel) + 1, [&](int64_t begin, int64_t end) {
                     f(begin * kPanel, std::min(end * kPanel, columns) - begin * kPanel);
                   });
}

}  // namespace

// Rows are shared out, or, where they are few, columns, so that each weight is read by one thread.
at::Tensor multiply(const at::Tensor& a, const at::Tensor& packed, const at::Tensor& bias,
                    int64_t columns, bool wide) {
  const int64_t rows = a.size(0), depth = a.size(1);
  at::Tensor y = at::empty({rows, columns}, wide ? a.options().dtype(at::kFloat) : a.options());
  const bool has_bias = bias.defined() && bias.numel() > 0;
  with_kernels(a, [&]<class T>(const kernels::TableOf<T>& t) {
    const T* const bias_data = has_bias ? data<T>(bias) : nullptr;
    // Rows from `row` on, columns from `column` on, a multiple of kLanes.
    const auto part = [&](int64_t row, int64_t row_end, int64_t column, int64_t column_end) {
      const T* const from = data<T>(a) + row * depth;
      const T* const panels = data<T>(packed) + column * kernels::packed_depth<T>(depth);
      const T* const some_bias = bias_data == nullptr ? nullptr : bias_data + column;
      const int64_t to = row * columns + column;
      if (wide) {
        t.gemm_wide(from, depth, panels, some_bias, row_end - row, depth, column_end - column,
                    data<float>(y) + to, columns);
      } else {
        t.gemm(from, depth, panels, some_bias, row_end - row, depth, column_end - column,
               data<T>(y) + to, columns);
      }
    };
    if (rows > kFewRows || columns * depth < kWeightGrain) {
      at::parallel_for(0, rows, kRowGrain,
                       [&](int64_t begin, int64_t end) { part(begin, end, 0, columns); });
      return;
    }
    constexpr int64_t kPair = 2 * kernels::kLanes;  // columns that a kernel takes at once
    at::parallel_for(0, kernels::round_up(columns, kPair) / kPair, 1,
                     [&](int64_t begin, int64_t end) {
                       part(0, rows, begin * kPair, std::min(end * kPair, columns));
                     });
  });
  return y;
}

at::Tensor pack(const at::Tensor& weight) {
  const int64_t out = weight.size(0), in = weight.size(1);
  return with_kernels(weight, [&]<class T>(const kernels::TableOf<T>& t) {
    at::Tensor packed = at::empty({kernels::packed_size<T>(out, in)}, weight.options());
    for_panels(out, in, [&](int64_t column, int64_t columns) {
      t.pack_transposed(data<T>(weight) + column * in, columns, in,
                        data<T>(packed) + column * kernels::packed_depth<T>(in));
    });
    return packed;
  });
}

at::Tensor pack_rows(const at::Tensor& b) {
  const int64_t depth = b.size(0), width = b.size(1);
  return with_kernels(b, [&]<class T>(const kernels::TableOf<T>& t) {
    at::Tensor packed = at::empty({kernels::packed_size<T>(width, depth)}, b.options());
    for_panels(width, depth, [&](int64_t column, int64_t columns) {
      t.pack_rows(data<T>(b) + column, width, depth, columns,
                  data<T>(packed) + column * kernels::packed_depth<T>(depth));
    });
    return packed;
  });
}

at::Tensor multiply_transposed(const at::Tensor& a, const at::Tensor& b) {
  const int64_t m = a.size(1);
  if (a.scalar_type() != at::kFloat)
    return multiply(a.t().contiguous(), pack_rows(b), {}, b.size(1));
  at::Tensor c = at::zeros({m, b.size(1)}, a.options());
  at::parallel_for(0, m, kRowGrain, [&](int64_t begin, int64_t end) {
    kernels::table().gemm_transposed_a(data<float>(a), data<float>(b), a.size(0), m, b.size(1),
                                       begin, end, data<float>(c));
  });
  return c;
}

at::Tensor multiply_narrow(const at::Tensor& a, const at::Tensor& b) {
  if (b.size(1) % kernels::kLanes == 0) return multiply_transposed(a, b);
  return multiply_transposed(b, a).t().contiguous();
}

}  // namespace tracewise::ops
