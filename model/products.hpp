// Matrix products of tensors on the CPU by model/kernels, shared out over ATen's threads. Every
// element of a result has the same bits for any number of threads.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "model/kernels/kernels.hpp"

namespace tracewise::ops {

// Elements that are worth a second thread where each is touched once.
inline constexpr int64_t kElementGrain = 1 << 15;

template <class T = float>
T* data(const at::Tensor& x) {
  return static_cast<T*>(x.data_ptr());
}

// f(the kernels of x's elements, float or bf16); f is a template of their type.
template <class F>
auto with_kernels(const at::Tensor& x, const F& f) {
  const kernels::Table& table = kernels::table();
  return x.scalar_type() == at::kFloat ? f(table.f32) : f(table.b16);
}

// W [out, in] in the kernels' layout.
at::Tensor pack(const at::Tensor& weight);
// B [depth, columns] in the same.
at::Tensor pack_rows(const at::Tensor& b);

// y [N, columns] = a [N, depth] * packed + bias, which may be undefined or empty. y is fp32 where
// `wide`, else like a.
at::Tensor multiply(const at::Tensor& a, const at::Tensor& packed, const at::Tensor& bias,
                    int64_t columns, bool wide = false);

// a^T b: [N, m], [N, n] -> [m, n]
at::Tensor multiply_transposed(const at::Tensor& a, const at::Tensor& b);
// The same for few columns of b, of which whole lanes alone are fast.
at::Tensor multiply_narrow(const at::Tensor& a, const at::Tensor& b);

}  // namespace tracewise::ops
