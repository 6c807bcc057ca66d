#include "model/rope.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <numbers>

namespace tracewise {
namespace {

using Kind = RopeScaling::Kind;

// [head_dim / 2] of 2i / head_dim. transformers computes frequencies and angles in fp32; so do we.
at::Tensor exponents(int64_t head_dim) {
  return at::arange(0, head_dim, 2, at::kFloat) / static_cast<float>(head_dim);
}

// [head_dim / 2]
at::Tensor plain_frequencies(double theta, int64_t head_dim) {
  return at::pow(at::Scalar(theta), exponents(head_dim)).to(at::kFloat).reciprocal();
}

// Wavelengths above `low` are stretched whole, those below `high` not at all.
at::Tensor llama3_frequencies(const at::Tensor& plain, const RopeScaling& scaling) {
  const auto context = static_cast<double>(scaling.original_context);
  const double low = context / scaling.low_freq_factor, high = context / scaling.high_freq_factor;
  const at::Tensor wavelength = plain.reciprocal() * (2 * std::numbers::pi);
  const at::Tensor stretched = plain / scaling.factor;
  const at::Tensor smooth = (wavelength.reciprocal() * context - scaling.low_freq_factor) /
                            (scaling.high_freq_factor - scaling.low_freq_factor);
  const at::Tensor between = (1 - smooth) * stretched + smooth * plain;
  return at::where(wavelength > low, stretched, at::where(wavelength < high, plain, between));
}

// Dimensions that turn more than beta_fast times over the original context keep their frequency,
// those that turn less than beta_slow times are stretched whole.
at::Tensor yarn_frequencies(const ModelConfig& config, const at::Tensor& plain) {
  const RopeScaling& scaling = config.rope_scaling;
  const auto dim = static_cast<double>(config.head_dim);
  const auto dimension = [&](double rotations) {
    return dim *
           std::log(static_cast<double>(scaling.original_context) /
                    (rotations * 2 * std::numbers::pi)) /
           (2 * std::log(config.rope_theta));
  };
  double low = dimension(scaling.beta_fast), high = dimension(scaling.beta_slow);
  if (scaling.truncate) low = std::floor(low), high = std::ceil(high);
  low = std::max(low, 0.0), high = std::min(high, dim - 1);
  if (low == high) high += 0.001;
  const at::Tensor ramp =
      ((at::arange(config.head_dim / 2, at::kFloat) - low) / (high - low)).clamp(0, 1);
  return plain / scaling.factor * ramp + plain * (1 - ramp);
}

// The base grows by (s (p + 1) / L - (s - 1)) ^ (d / (d - 2)) from position p = L on.
at::Tensor dynamic_angles(const ModelConfig& config) {
  const RopeScaling& scaling = config.rope_scaling;
  const auto context = static_cast<double>(scaling.original_context);
  const auto dim = static_cast<double>(config.head_dim);
  const at::Tensor positions = at::arange(config.max_context, at::kFloat).unsqueeze(1);
  const at::Tensor grown =
      ((positions + 1) * (scaling.factor / context) - (scaling.factor - 1)).clamp_min(1);
  const at::Tensor theta = grown.pow(dim / (dim - 2)) * config.rope_theta;  // [max_context, 1]
  return positions / at::pow(theta, exponents(config.head_dim));
}

at::Tensor scaled_frequencies(const ModelConfig& config, const at::Tensor& plain) {
  switch (config.rope_scaling.kind) {
    case Kind::kLinear:
      return plain / config.rope_scaling.factor;
    case Kind::kLlama3:
      return llama3_frequencies(plain, config.rope_scaling);
    case Kind::kYarn:
      return yarn_frequencies(config, plain);
    default:
      return plain;
  }
}

}  // namespace

ops::RopeTable make_rope_table(const ModelConfig& config, at::Device device) {
  const at::Tensor plain = plain_frequencies(config.rope_theta, config.head_dim);
  const at::Tensor angles =  // [max_context, head_dim / 2]
      config.rope_scaling.kind == Kind::kDynamic
          ? dynamic_angles(config)
          : at::outer(at::arange(config.max_context, at::kFloat),
                      scaled_frequencies(config, plain));
  const double factor = config.rope_scaling.attention_factor;
  const auto finished = [&](const at::Tensor& x) {
    return (factor == 1 ? x : x * factor).to(device);
  };
  return {finished(angles.cos()), finished(angles.sin())};
}

}  // namespace tracewise
