#include "learner/first_pass.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

namespace tracewise {
namespace {

// The larger one; a number that is none wins, so that it is seen.
double larger(double a, double b) { return std::isnan(a) || a > b ? a : b; }

}  // namespace

void FirstPass::add(const FirstPass& other) {
  for (int i = 0; i < kSums; ++i) sums[i] += other.sums[i];
  for (int i = 0; i < kMosts; ++i) most[i] = larger(most[i], other.most[i]);
}

FirstPass first_pass(const at::Tensor& first, const at::Tensor& behaviour, const at::Tensor& fresh,
                     const at::Tensor& log_weights, double importance_cap) {
  const at::Tensor difference = first - behaviour;
  const at::Tensor ratio = difference.exp();
  at::Tensor weight = log_weights.exp();
  if (importance_cap > 0) weight = weight.clamp_max(importance_cap);
  const at::Tensor gap = difference.abs();
  const auto sum = [](const at::Tensor& x) { return x.to(at::kDouble).sum(); };
  const at::Tensor measured =
      at::stack({sum(at::ones_like(ratio)), sum(ratio), sum(weight), sum(weight * weight), sum(gap),
                 sum(fresh), sum(gap * fresh), ratio.max().to(at::kDouble),
                 gap.max().to(at::kDouble), (gap * fresh).max().to(at::kDouble)})
          .to(at::kCPU);
  FirstPass pass;
  const double* numbers = measured.data_ptr<double>();
  std::copy_n(numbers, FirstPass::kSums, pass.sums);
  std::copy_n(numbers + FirstPass::kSums, FirstPass::kMosts, pass.most);
  return pass;
}

}  // namespace tracewise
