#include "model/decoder.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <cstring>

#include "model/device.hpp"

namespace tracewise {
namespace {

at::ScalarType scalar_type(const std::string& dtype) {
  TW_CHECK(dtype == "F32" || dtype == "BF16", "no tensor type for dtype " + dtype);
  return dtype == "F32" ? at::kFloat : at::kBFloat16;
}

class GradientHook final : public torch::autograd::PostAccumulateGradHook {
 public:
  explicit GradientHook(std::function<void()> added) : added_(std::move(added)) {}
  void operator()(const at::Tensor&) override { added_(); }

 private:
  std::function<void()> added_;
};

}  // namespace

at::Tensor PackedAttention::attend(int64_t, const at::Tensor& q, const at::Tensor& k,
                                   const at::Tensor& v) {
  return ops::packed_attention(q, k, v, starts_);
}

Decoder::Decoder(const ModelConfig& config, Mode mode, at::Device device)
    : config_(config), mode_(mode), layout_(weights_layout(config)) {
  const at::ScalarType type = scalar_type(config.dtype);
  const int64_t elements = static_cast<int64_t>(layout_.bytes / at::elementSize(type));
  flat_ = at::zeros({elements}, at::TensorOptions().dtype(type).device(device));
  if (mode == Mode::kTraining) flat_gradient_ = at::zeros_like(flat_);
  rope_ = ops::make_rope_table(config.max_context, config.head_dim, config.rope_theta, device);

  embedding_ = take("model.embed_tokens.weight");
  for (int64_t i = 0; i < config.layers; ++i) {
    const std::string prefix = "model.layers." + std::to_string(i) + ".";
    const auto linear = [&](const std::string& name, bool bias) {
      ops::LinearWeight w;
      w.weight = take(prefix + name + ".weight");
      if (bias) w.bias = take(prefix + name + ".bias");
      return w;
    };
    Layer layer;
    layer.input_norm = take(prefix + "input_layernorm.weight");
    layer.q = linear("self_attn.q_proj", config.qkv_bias);
    layer.k = linear("self_attn.k_proj", config.qkv_bias);
    layer.v = linear("self_attn.v_proj", config.qkv_bias);
    if (config.qk_norm) {
      layer.q_norm = take(prefix + "self_attn.q_norm.weight");
      layer.k_norm = take(prefix + "self_attn.k_norm.weight");
    }
    layer.out = linear("self_attn.o_proj", false);
    layer.post_norm = take(prefix + "post_attention_layernorm.weight");
    layer.gate = linear("mlp.gate_proj", false);
    layer.up = linear("mlp.up_proj", false);
    layer.down = linear("mlp.down_proj", false);
    layers_.push_back(std::move(layer));
  }
  final_norm_ = take("model.norm.weight");
  head_.weight = config.tied_head ? embedding_ : take("lm_head.weight");
}

at::Tensor Decoder::take(const std::string& name) {
  for (size_t i = 0; i < layout_.tensors.size(); ++i) {
    const TensorEntry& entry = layout_.tensors[i];
    if (entry.name != name) continue;
    const int64_t size = static_cast<int64_t>(flat_.element_size());
    const int64_t begin = static_cast<int64_t>(entry.offset) / size;
    const int64_t count = static_cast<int64_t>(entry.bytes) / size;
    at::Tensor parameter = flat_.narrow(0, begin, count).view(entry.shape).detach();
    if (mode_ == Mode::kTraining) {
      parameter.requires_grad_(true);
      parameter.mutable_grad() = flat_gradient_.narrow(0, begin, count).view(entry.shape);
      const bool last = i + 1 == layout_.tensors.size();
      const uint64_t end = last ? layout_.bytes : layout_.tensors[i + 1].offset;
      parameters_.push_back({parameter, begin, static_cast<int64_t>(end) / size - begin});
    }
    return parameter;
  }
  TW_CHECK(false, "the layout has no tensor " + name);
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
  return {};
}

Result<void> Decoder::load(const Weights& weights) {
  TW_TRY(check(weights));
  c10::NoGradGuard no_gradient;
  auto* bytes = const_cast<std::byte*>(weights.bytes().data());
  flat_.copy_(at::from_blob(bytes, flat_.sizes(), flat_.options().device(at::kCPU)));
  freeze();
  return {};
}

WeightsPtr Decoder::snapshot(uint64_t version, const AllocateWeights& allocate) const {
  WeightsManifest manifest = layout_;
  manifest.version = version;
  auto bytes = allocate(manifest.bytes);
  c10::NoGradGuard no_gradient;
  at::from_blob(bytes.get(), flat_.sizes(), flat_.options().device(at::kCPU)).copy_(flat_);
  manifest.checksum = weights_checksum({bytes.get(), manifest.bytes});
  return std::make_shared<Weights>(std::move(manifest), std::move(bytes));
}

void Decoder::on_gradient(std::function<void(int64_t begin, int64_t count)> added) {
  for (Parameter& p : parameters_) {
    torch::autograd::impl::set_post_acc_grad_hooks(
        p.tensor, std::make_unique<GradientHook>([added, &p] { added(p.begin, p.count); }));
  }
}

void Decoder::freeze() {
  if (mode_ != Mode::kInference) return;
  for (Layer& l : layers_)
    for (ops::LinearWeight* w : {&l.q, &l.k, &l.v, &l.out, &l.gate, &l.up, &l.down})
      ops::freeze(*w);
  ops::freeze(head_);
}

at::Tensor Decoder::attention_block(const Layer& layer, int64_t index, const at::Tensor& x,
                                    const at::Tensor& positions, Attention& attention) const {
  const int64_t n = x.size(0);
  at::Tensor q = ops::linear(x, layer.q).view({n, config_.heads, config_.head_dim});
  at::Tensor k = ops::linear(x, layer.k).view({n, config_.kv_heads, config_.head_dim});
  const at::Tensor v = ops::linear(x, layer.v).view({n, config_.kv_heads, config_.head_dim});
  if (config_.qk_norm) {
    q = ops::rms_norm(q, layer.q_norm, config_.norm_eps);
    k = ops::rms_norm(k, layer.k_norm, config_.norm_eps);
  }
  const at::Tensor out =
      attention.attend(index, ops::rope(q, positions, rope_), ops::rope(k, positions, rope_), v);
  return ops::linear(out.reshape({n, config_.heads * config_.head_dim}), layer.out);
}

at::Tensor Decoder::hidden(const at::Tensor& tokens, const at::Tensor& positions,
                           Attention& attention) const {
  at::Tensor x = at::embedding(embedding_, tokens);  // [N, width]
  for (size_t i = 0; i < layers_.size(); ++i) {
    const Layer& layer = layers_[i];
    x = x + attention_block(layer, static_cast<int64_t>(i),
                            ops::rms_norm(x, layer.input_norm, config_.norm_eps), positions,
                            attention);
    const at::Tensor normed = ops::rms_norm(x, layer.post_norm, config_.norm_eps);
    x = x + ops::linear(ops::swiglu(ops::linear(normed, layer.gate), ops::linear(normed, layer.up)),
                        layer.down);
  }
  return x;
}

at::Tensor Decoder::logits(const at::Tensor& hidden) const {
  return ops::linear(ops::rms_norm(hidden, final_norm_, config_.norm_eps), head_).to(at::kFloat);
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
