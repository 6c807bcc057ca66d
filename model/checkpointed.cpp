#include "model/checkpointed.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <utility>

namespace tracewise {
namespace {

using torch::autograd::AutogradContext;
using Body = std::function<at::Tensor(const at::Tensor& x)>;
using Tensors = torch::autograd::variable_list;

struct BodyHolder final : torch::CustomClassHolder {
  explicit BodyHolder(Body body) : body(std::move(body)) {}
  Body body;
};

struct Checkpointed : torch::autograd::Function<Checkpointed> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, at::TensorList parameters,
                            const Body& body) {
    Tensors saved = {x};
    saved.insert(saved.end(), parameters.begin(), parameters.end());
    ctx->save_for_backward(std::move(saved));
    ctx->saved_data["body"] = at::IValue::make_capsule(c10::make_intrusive<BodyHolder>(body));
    return body(x);
  }

  static Tensors backward(AutogradContext* ctx, Tensors gradients) {
    const c10::AutoGradMode with_gradient(true);
    Tensors inputs = ctx->get_saved_variables();
    inputs[0] = inputs[0].detach().requires_grad_(inputs[0].requires_grad());
    const auto holder = ctx->saved_data["body"].toCapsule();
    const at::Tensor y = static_cast<BodyHolder&>(*holder).body(inputs[0]);
    Tensors wanted;
    for (const at::Tensor& input : inputs)
      if (input.requires_grad()) wanted.push_back(input);
    const Tensors found = torch::autograd::grad({y}, wanted, gradients);
    Tensors all(inputs.size() + 1);  // frozen inputs have none, nor has the body
    for (size_t i = 0, next = 0; i < inputs.size(); ++i)
      if (inputs[i].requires_grad()) all[i] = found[next++];
    return all;
  }
};

}  // namespace

at::Tensor checkpointed(const at::Tensor& x, at::TensorList parameters, Body body) {
  return Checkpointed::apply(x, parameters, body);
}

}  // namespace tracewise
