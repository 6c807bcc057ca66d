// Activation checkpointing (Chen et al. 2016, arXiv:1604.06174).
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>

namespace tracewise {

// body(x), of which `x` alone is kept for the backward pass: that computes the rest again.
// `parameters` are all others that the gradient goes to; what `body` refers to must live, and stay
// as it is, until then.
at::Tensor checkpointed(const at::Tensor& x, at::TensorList parameters,
                        std::function<at::Tensor(const at::Tensor& x)> body);

}  // namespace tracewise
