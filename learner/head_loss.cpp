#include "learner/head_loss.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

#include "model/logprobs.hpp"

namespace tracewise {
namespace {

using torch::autograd::AutogradContext;
using Tensors = torch::autograd::variable_list;

// The gradients are known as soon as the loss is: the rows' logits need not be computed again.
struct HeadLoss : torch::autograd::Function<HeadLoss> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& hidden, const at::Tensor& norm,
                            const at::Tensor& head, const Decoder& decoder,
                            const at::Tensor& targets, int64_t step, const RowsLoss& loss) {
    const c10::AutoGradMode with_gradient(true);
    at::Tensor total;
    std::vector<at::Tensor> of_hidden;
    Tensors parameters, of_parameters;  // those that are trained
    for (const at::Tensor& parameter : {norm, head})
      if (parameter.requires_grad()) parameters.push_back(parameter);
    // Once at least, so that a loss of no rows has a gradient too.
    for (int64_t begin = 0; begin == 0 || begin < hidden.size(0); begin += step) {
      const int64_t rows = std::min(step, hidden.size(0) - begin);
      const at::Tensor some = hidden.detach().narrow(0, begin, rows).requires_grad_(true);
      const at::Tensor all = at::log_softmax(decoder.logits(some), -1);
      const at::Tensor part =
          loss(begin, of_targets(all, targets.narrow(0, begin, rows)), all.detach());
      Tensors inputs = {some};
      inputs.insert(inputs.end(), parameters.begin(), parameters.end());
      const Tensors gradients = torch::autograd::grad({part}, inputs);
      of_hidden.push_back(gradients[0]);
      const bool first = begin == 0;
      total = first ? part.detach() : total + part.detach();
      if (first) of_parameters.assign(gradients.begin() + 1, gradients.end());
      for (size_t i = 0; !first && i < of_parameters.size(); ++i)
        of_parameters[i].add_(gradients[i + 1]);
    }
    ctx->saved_data["hidden"] = at::cat(of_hidden);
    auto next = of_parameters.begin();
    if (norm.requires_grad()) ctx->saved_data["norm"] = *next++;
    if (head.requires_grad()) ctx->saved_data["head"] = *next++;
    return total;
  }

  static Tensors backward(AutogradContext* ctx, Tensors gradients) {
    // In place: the head's is as large as the head.
    const auto of = [&](const char* input) {
      const auto found = ctx->saved_data.find(input);
      return found == ctx->saved_data.end() ? at::Tensor()
                                            : found->second.toTensor().mul_(gradients[0]);
    };
    return {of("hidden"), of("norm"), of("head"), {}, {}, {}, {}};
  }
};

}  // namespace

at::Tensor head_loss(const Decoder& decoder, const at::Tensor& hidden, const at::Tensor& targets,
                     int64_t at_once, const RowsLoss& loss) {
  TW_CHECK(at_once > 0, "rows at once");
  const auto [norm, head] = decoder.head_parameters();
  return HeadLoss::apply(hidden, norm, head, decoder, targets, at_once, loss);
}

}  // namespace tracewise
