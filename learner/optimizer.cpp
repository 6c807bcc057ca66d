#include "learner/optimizer.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <charconv>
#include <cmath>
#include <numbers>

#include "model/safetensors.hpp"

namespace tracewise {

double learning_rate(const OptimizerOptions& options, int64_t step, double progress) {
  const double warm =
      options.warmup_steps > 0
          ? std::min(1.0, static_cast<double>(step + 1) / static_cast<double>(options.warmup_steps))
          : 1.0;
  const double p = std::clamp(progress, 0.0, 1.0);
  const double floor = options.final_lr_ratio;
  double factor = 1.0;
  if (options.schedule == LrSchedule::kLinear) factor = 1 - (1 - floor) * p;
  if (options.schedule == LrSchedule::kCosine)
    factor = floor + (1 - floor) * 0.5 * (1 + std::cos(std::numbers::pi * p));
  return options.lr * warm * factor;
}

Optimizer::Optimizer(const OptimizerOptions& options, Decoder& decoder)
    : options_(options), decoder_(decoder) {
  weights_changed();
  mean_ = at::zeros_like(master_);
  square_ = at::zeros_like(master_);
}

void Optimizer::weights_changed() {
  // to() returns the same storage where the model is fp32 already.
  master_ = decoder_.flat().to(at::kFloat);
}

void Optimizer::zero_gradient() { decoder_.flat_gradient().zero_(); }

UpdateOutcome Optimizer::update(double progress) {
  c10::NoGradGuard no_gradient;
  UpdateOutcome outcome;
  at::Tensor gradient = decoder_.flat_gradient().to(at::kFloat);
  outcome.lr = learning_rate(options_, steps_, progress);
  outcome.grad_norm = gradient.norm().item<double>();
  if (!std::isfinite(outcome.grad_norm)) return outcome;
  if (options_.max_grad_norm > 0) {
    const double scale = options_.max_grad_norm / (outcome.grad_norm + 1e-6);
    if (scale < 1) gradient = gradient * scale;
  }
  ++steps_;
  const at::Tensor step = at::full({}, static_cast<float>(steps_), master_.options());
  std::vector<at::Tensor> parameters = {master_}, means = {mean_}, squares = {square_};
  at::_fused_adamw_(parameters, {gradient}, means, squares, {}, {step}, outcome.lr, options_.beta1,
                    options_.beta2, options_.weight_decay, options_.eps, /*amsgrad=*/false,
                    /*maximize=*/false);
  if (!master_.is_alias_of(decoder_.flat())) decoder_.flat().copy_(master_);
  outcome.applied = true;
  return outcome;
}

Result<void> Optimizer::save(const std::filesystem::path& file) const {
  const bool own_master = !master_.is_alias_of(decoder_.flat());
  std::vector<at::Tensor> kept;  // alive while their bytes are viewed
  std::vector<TensorView> views;
  const auto add = [&](const std::string& name, const at::Tensor& x) {
    kept.push_back(x.to(at::kCPU).contiguous());
    views.push_back({name,
                     "F32",
                     {kept.back().numel()},
                     {static_cast<const std::byte*>(kept.back().data_ptr()),
                      static_cast<size_t>(kept.back().nbytes())}});
  };
  add("adamw.mean", mean_);
  add("adamw.square", square_);
  if (own_master) add("master", master_);
  return write_safetensors(file, views, {{"steps", std::to_string(steps_)}});
}

Result<void> Optimizer::load(const std::filesystem::path& file) {
  TW_ASSIGN(const SafetensorsFile stored, SafetensorsFile::open(file));
  const bool own_master = !master_.is_alias_of(decoder_.flat());
  std::vector<std::pair<std::string, at::Tensor>> wanted = {{"adamw.mean", mean_},
                                                            {"adamw.square", square_}};
  if (own_master) wanted.emplace_back("master", master_);
  for (const auto& [name, tensor] : wanted) {
    const TensorView* view = stored.find(name);
    if (view == nullptr || view->dtype != "F32" || view->bytes.size() != tensor.nbytes()) {
      return bad_input(file.string() + ": tensor '" + name + "' is missing or does not have " +
                       std::to_string(tensor.numel()) + " F32 elements as this model needs");
    }
  }
  const auto steps = stored.metadata().find("steps");
  if (steps == stored.metadata().end())
    return bad_input(file.string() + ": no 'steps' in its metadata");
  int64_t taken = 0;
  const std::string& text = steps->second;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), taken);
  if (error != std::errc{} || end != text.data() + text.size() || taken < 0)
    return corrupt(file.string() + ": 'steps' in its metadata is '" + text + "', not a number");
  for (auto& [name, tensor] : wanted) {
    const TensorView* view = stored.find(name);
    // The bytes may start at any address: copied through an aligned tensor.
    at::Tensor values = at::empty({tensor.numel()}, at::kFloat);
    std::copy(view->bytes.begin(), view->bytes.end(), static_cast<std::byte*>(values.data_ptr()));
    tensor.copy_(values);
  }
  steps_ = taken;
  return {};
}

}  // namespace tracewise
