#include "model/decoder.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <cstring>

#include "model/adapter.hpp"
#include "model/checkpointed.hpp"
#include "model/decoder_parameters.hpp"
#include "model/device.hpp"
#include "model/rope.hpp"

namespace tracewise {
namespace {

class GradientHook final : public torch::autograd::PostAccumulateGradHook {
 public:
  explicit GradientHook(std::function<void()> added) : added_(std::move(added)) {}
  void operator()(const at::Tensor&) override { added_(); }

 private:
  std::function<void()> added_;
};

ModelConfig without_adapter(ModelConfig config) {
  config.adapter = {};
  return config;
}

}  // namespace

at::Tensor PackedAttention::attend(int64_t, const at::Tensor& q, const at::Tensor& k,
                                   const at::Tensor& v, int64_t window) {
  return ops::packed_attention(q, k, v, starts_, window);
}

Decoder::Decoder(const ModelConfig& config, Mode mode, at::Device device)
    : config_(config), mode_(mode), device_(device), layout_(version_layout(config)) {
  rope_ = make_rope_table(config, device);
  if (shares_storage()) return;
  const at::ScalarType type = scalar_type(layout_.dtype);
  const at::Tensor flat = at::zeros({static_cast<int64_t>(layout_.bytes / at::elementSize(type))},
                                    at::TensorOptions().dtype(type).device(device));
  if (mode == Mode::kTraining) {
    flat_gradient_ = at::zeros_like(flat);
    for (const TensorEntry& entry : layout_.tensors) add_leaf(flat, entry.name);
  }
  auto parameters = std::make_shared<DecoderParameters>();
  if (has_adapter()) {
    parameters->flat = flat;  // the base comes with the first version
  } else {
    *parameters = parameters_of(config, flat, [&](const auto& name) { return take(flat, name); });
  }
  parameters_ = std::move(parameters);
}

bool Decoder::shares_storage() const { return mode_ == Mode::kInference && device_.is_cpu(); }

at::Tensor Decoder::flat() const { return parameters_->flat; }

void Decoder::add_leaf(const at::Tensor& flat, const std::string& name) {
  const Extent e = extent(layout_, flat.element_size(), name);
  at::Tensor parameter = part(flat, layout_, name);
  parameter.requires_grad_(true);
  parameter.mutable_grad() =
      flat_gradient_.narrow(0, e.begin, e.count).view(layout_.tensors[e.index].shape);
  const bool last = e.index + 1 == layout_.tensors.size();
  const uint64_t end = last ? layout_.bytes : layout_.tensors[e.index + 1].offset;
  leaves_.push_back(
      {parameter, e.begin, static_cast<int64_t>(end) / flat.element_size() - e.begin});
}

at::Tensor Decoder::take(const at::Tensor& flat, const std::string& name) const {
  if (mode_ == Mode::kInference) return part(flat, layout_, name);
  return leaves_[extent(layout_, flat.element_size(), name).index].tensor;
}

Result<void> Decoder::check(const Weights& weights) const {
  const WeightsManifest& theirs = weights.manifest();
  if (theirs.dtype != layout_.dtype || theirs.tensors != layout_.tensors ||
      theirs.bytes != layout_.bytes) {
    for (size_t i = 0; i < std::min(theirs.tensors.size(), layout_.tensors.size()); ++i) {
      if (theirs.tensors[i] != layout_.tensors[i]) {
        return bad_input("weights version " + std::to_string(theirs.version) + " has tensor '" +
                         theirs.tensors[i].name + "' where the model has '" +
                         layout_.tensors[i].name + "', or another shape of it");
      }
    }
    return bad_input("weights version " + std::to_string(theirs.version) + " has " +
                     std::to_string(theirs.tensors.size()) + " tensors of " + theirs.dtype +
                     "; the model has " + std::to_string(layout_.tensors.size()) + " of " +
                     layout_.dtype);
  }
  if (!has_adapter()) return {};
  const WeightsPtr& base = base_ ? base_ : weights.base();
  TW_CHECK(base, "the first version of an adapter brings its base");
  if (theirs.base_checksum != base->manifest().checksum) {
    return bad_input("weights version " + std::to_string(theirs.version) +
                     " is an adapter of other base weights than those of the model here");
  }
  return {};
}

Result<void> Decoder::load(const WeightsPtr& weights) {
  if (shares_storage()) {
    TW_ASSIGN(parameters_, freeze(weights));
    if (has_adapter() && !base_) base_ = weights->base();
    return {};
  }
  TW_TRY(check(*weights));
  c10::NoGradGuard no_gradient;
  if (has_adapter() && !base_) take_base(weights->base());
  flat().copy_(view_of(*weights));
  flat_changed();
  return {};
}

void Decoder::take_base(WeightsPtr base) {
  const at::Tensor flat = parameters_->flat, elements = view_of(*base).to(device_);
  base_ = std::move(base);
  DecoderParameters p = with_base(elements);
  p.storage = base_;
  p.flat = flat;
  add_adapter(p, config_, [&](const auto& name) { return take(flat, name); });
  merge(p);
  parameters_ = std::make_shared<const DecoderParameters>(std::move(p));
}

DecoderParameters Decoder::with_base(const at::Tensor& elements) const {
  const WeightsManifest layout = weights_layout(config_);
  return parameters_of(config_, elements,
                       [&](const auto& name) { return part(elements, layout, name); });
}

void Decoder::flat_changed() {
  if (!has_adapter() || !parameters_->base.defined()) return;
  c10::NoGradGuard no_gradient;
  DecoderParameters sums = *parameters_;  // of the same tensors
  merge(sums);
}

Result<FrozenParameters> Decoder::freeze(const WeightsPtr& weights) const {
  TW_TRY(check(*weights));
  if (!shares_storage()) return FrozenParameters();
  c10::NoGradGuard no_gradient;
  const at::Tensor flat = view_of(*weights);
  const WeightsPtr& base = base_ ? base_ : weights->base();
  const WeightsPtr& whole = has_adapter() ? base : weights;
  auto frozen = std::make_shared<DecoderParameters>(with_base(view_of(*whole)));
  frozen->storage = whole;
  if (has_adapter()) {
    add_adapter(*frozen, config_, [&](const auto& name) { return take(flat, name); });
    merge(*frozen);
  }
  pack(*frozen);
  return FrozenParameters(std::move(frozen));
}

std::unique_ptr<Decoder> Decoder::base_decoder() const {
  TW_CHECK(base_, "a decoder with an adapter has its base after the first version");
  auto decoder =
      std::make_unique<Decoder>(without_adapter(config_), Mode::kInference, at::Device(at::kCPU));
  decoder->device_ = device_;
  decoder->rope_ = rope_;
  auto parameters = std::make_shared<DecoderParameters>(with_base(parameters_->base));
  parameters->storage = base_;
  decoder->use(std::move(parameters));
  return decoder;
}

WeightsPtr Decoder::snapshot(uint64_t version, const AllocateWeights& allocate) const {
  WeightsManifest manifest = layout_;
  manifest.version = version;
  manifest.base_checksum = base_checksum();
  auto bytes = allocate(manifest.bytes);
  c10::NoGradGuard no_gradient;
  at::from_blob(bytes.get(), flat().sizes(), flat().options().device(at::kCPU)).copy_(flat());
  manifest.checksum = weights_checksum({bytes.get(), manifest.bytes});
  return std::make_shared<Weights>(std::move(manifest), std::move(bytes), base_);
}

void Decoder::on_gradient(std::function<void(int64_t begin, int64_t count)> added) {
  for (const Leaf& leaf : leaves_) {
    torch::autograd::impl::set_post_acc_grad_hooks(
        leaf.tensor,
        std::make_unique<GradientHook>([added, &leaf] { added(leaf.begin, leaf.count); }));
  }
}

at::Tensor Decoder::attention_block(size_t index, const at::Tensor& x, const at::Tensor& positions,
                                    Attention& attention) const {
  const DecoderParameters::Layer& layer = parameters_->layers[index];
  const int64_t n = x.size(0);
  at::Tensor q = ops::linear(x, layer.q).view({n, config_.heads, config_.head_dim});
  at::Tensor k = ops::linear(x, layer.k).view({n, config_.kv_heads, config_.head_dim});
  const at::Tensor v = ops::linear(x, layer.v).view({n, config_.kv_heads, config_.head_dim});
  if (config_.qk_norm) {
    q = ops::rms_norm(q, layer.q_norm, config_.norm_eps);
    k = ops::rms_norm(k, layer.k_norm, config_.norm_eps);
  }
  const at::Tensor out =
      attention.attend(static_cast<int64_t>(index), ops::rope(q, positions, rope_),
                       ops::rope(k, positions, rope_), v, config_.window(index));
  return ops::linear(out.reshape({n, config_.heads * config_.head_dim}), layer.out);
}

at::Tensor Decoder::layer_output(size_t index, const at::Tensor& in, const at::Tensor& positions,
                                 Attention& attention) const {
  const DecoderParameters::Layer& layer = parameters_->layers[index];
  const at::Tensor x =
      in + attention_block(index, ops::rms_norm(in, layer.input_norm, config_.norm_eps), positions,
                           attention);
  const at::Tensor normed = ops::rms_norm(x, layer.post_norm, config_.norm_eps);
  return x +
         ops::linear(ops::swiglu(ops::linear(normed, layer.gate), ops::linear(normed, layer.up)),
                     layer.down);
}

at::Tensor Decoder::hidden(const at::Tensor& tokens, const at::Tensor& positions,
                           Attention& attention) const {
  TW_CHECK(parameters_ && parameters_->embedding.defined(), "no weights were loaded");
  at::Tensor x = at::embedding(parameters_->embedding, tokens);  // [N, width]
  for (size_t i = 0; i < parameters_->layers.size(); ++i)
    x = layer_output(i, x, positions, attention);
  return x;
}

at::Tensor Decoder::checkpointed_hidden(const at::Tensor& tokens, const at::Tensor& positions,
                                        std::shared_ptr<Attention> attention) const {
  at::Tensor x = at::embedding(parameters_->embedding, tokens);
  for (size_t i = 0; i < parameters_->layers.size(); ++i) {
    x = checkpointed(x, parameters_->layers[i].tensors(),
                     [this, i, positions, attention](const at::Tensor& in) {
                       return layer_output(i, in, positions, *attention);
                     });
  }
  return x;
}

at::Tensor Decoder::logits(const at::Tensor& hidden) const {
  return ops::linear_wide(ops::rms_norm(hidden, parameters_->final_norm, config_.norm_eps),
                          parameters_->head);
}

std::pair<at::Tensor, at::Tensor> Decoder::head_parameters() const {
  return {parameters_->final_norm, parameters_->head.weight};
}

CudaFacts cuda_facts() {
  return {at::globalContext().hasCUDART(), at::detail::getCUDAHooks().getNumGPUs()};
}

Result<void> check_device(const std::string& name) {
  TW_TRY(parse_device(name));
  return {};
}

Result<at::Device> parse_device(const std::string& name) {
  if (name == "cpu") return at::Device(at::kCPU);
  if (name.starts_with("cuda:") && name.size() > 5 &&
      name.find_first_not_of("0123456789", 5) == std::string::npos) {
    if (!at::globalContext().hasCUDA()) {
      return unsupported("device '" + name +
                         "' asked for, but no CUDA device is usable here; use cpu");
    }
    return at::Device(name);
  }
  return bad_input("device '" + name + "' is neither cpu nor cuda:N");
}

}  // namespace tracewise
