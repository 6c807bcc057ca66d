#include "model/decoder.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <cstring>

#include "model/checkpointed.hpp"
#include "model/device.hpp"
#include "model/rope.hpp"

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

using TakeTensor = std::function<at::Tensor(const std::string& name)>;

// The elements of a flat tensor that are one of its layout's.
struct Extent {
  size_t index = 0;  // in the layout
  int64_t begin = 0, count = 0;
};
Extent extent(const WeightsManifest& layout, int64_t element_bytes, const std::string& name) {
  for (size_t i = 0; i < layout.tensors.size(); ++i) {
    const TensorEntry& entry = layout.tensors[i];
    if (entry.name == name)
      return {i, static_cast<int64_t>(entry.offset) / element_bytes,
              static_cast<int64_t>(entry.bytes) / element_bytes};
  }
  TW_CHECK(false, "the layout has no tensor " + name);
}

at::Tensor part(const at::Tensor& flat, const WeightsManifest& layout, const std::string& name) {
  const Extent e = extent(layout, flat.element_size(), name);
  return flat.narrow(0, e.begin, e.count).view(layout.tensors[e.index].shape).detach();
}

}  // namespace

struct DecoderParameters {
  struct Layer {
    at::Tensor input_norm, post_norm, q_norm, k_norm;
    ops::LinearWeight q, k, v, out, gate, up, down;

    std::vector<at::Tensor> tensors() const {
      std::vector<at::Tensor> all = {input_norm, post_norm};
      for (const at::Tensor& norm : {q_norm, k_norm})
        if (norm.defined()) all.push_back(norm);
      for (const ops::LinearWeight* w : {&q, &k, &v, &out, &gate, &up, &down}) {
        all.push_back(w->weight);
        if (w->bias.defined()) all.push_back(w->bias);
      }
      return all;
    }
  };

  WeightsPtr storage;  // that `flat` lies in; null: its own
  at::Tensor flat;     // [bytes / element] with padding; all others but the packed ones lie in it
  at::Tensor embedding, final_norm;
  ops::LinearWeight head;
  std::vector<Layer> layers;
};

namespace {

DecoderParameters parameters_of(const ModelConfig& config, const at::Tensor& flat,
                                const TakeTensor& take) {
  DecoderParameters p;
  p.flat = flat;
  p.embedding = take("model.embed_tokens.weight");
  for (int64_t i = 0; i < config.layers; ++i) {
    const std::string prefix = "model.layers." + std::to_string(i) + ".";
    const auto linear = [&](const std::string& name, bool bias) {
      ops::LinearWeight w;
      w.weight = take(prefix + name + ".weight");
      if (bias) w.bias = take(prefix + name + ".bias");
      return w;
    };
    DecoderParameters::Layer layer;
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
    p.layers.push_back(std::move(layer));
  }
  p.final_norm = take("model.norm.weight");
  p.head.weight = config.tied_head ? p.embedding : take("lm_head.weight");
  return p;
}

void pack(DecoderParameters& p) {
  for (DecoderParameters::Layer& l : p.layers)
    for (ops::LinearWeight* w : {&l.q, &l.k, &l.v, &l.out, &l.gate, &l.up, &l.down})
      ops::freeze(*w);
  ops::freeze(p.head);
}

}  // namespace

at::Tensor PackedAttention::attend(int64_t, const at::Tensor& q, const at::Tensor& k,
                                   const at::Tensor& v, int64_t window) {
  return ops::packed_attention(q, k, v, starts_, window);
}

Decoder::Decoder(const ModelConfig& config, Mode mode, at::Device device)
    : config_(config), mode_(mode), device_(device), layout_(weights_layout(config)) {
  rope_ = make_rope_table(config, device);
  if (shares_storage()) return;
  const auto options = at::TensorOptions().dtype(scalar_type(config.dtype)).device(device);
  const auto element = static_cast<int64_t>(at::elementSize(scalar_type(config.dtype)));
  const at::Tensor flat = at::zeros({static_cast<int64_t>(layout_.bytes) / element}, options);
  if (mode == Mode::kTraining) flat_gradient_ = at::zeros_like(flat);
  parameters_ = std::make_shared<const DecoderParameters>(
      parameters_of(config, flat, [&](const std::string& name) {
        return mode == Mode::kTraining ? leaf(flat, name) : part(flat, layout_, name);
      }));
}

bool Decoder::shares_storage() const { return mode_ == Mode::kInference && device_.is_cpu(); }

at::Tensor Decoder::flat() const { return parameters_->flat; }

at::Tensor Decoder::leaf(const at::Tensor& flat, const std::string& name) {
  const Extent e = extent(layout_, flat.element_size(), name);
  const TensorEntry& entry = layout_.tensors[e.index];
  at::Tensor parameter = part(flat, layout_, name);
  parameter.requires_grad_(true);
  parameter.mutable_grad() = flat_gradient_.narrow(0, e.begin, e.count).view(entry.shape);
  const bool last = e.index + 1 == layout_.tensors.size();
  const uint64_t end = last ? layout_.bytes : layout_.tensors[e.index + 1].offset;
  leaves_.push_back(
      {parameter, e.begin, static_cast<int64_t>(end) / flat.element_size() - e.begin});
  return parameter;
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

Result<void> Decoder::load(const WeightsPtr& weights) {
  if (shares_storage()) {
    TW_ASSIGN(parameters_, freeze(weights));
    return {};
  }
  TW_TRY(check(*weights));
  c10::NoGradGuard no_gradient;
  auto* bytes = const_cast<std::byte*>(weights->bytes().data());
  flat().copy_(at::from_blob(bytes, flat().sizes(), flat().options().device(at::kCPU)));
  return {};
}

Result<FrozenParameters> Decoder::freeze(const WeightsPtr& weights) const {
  TW_TRY(check(*weights));
  if (!shares_storage()) return FrozenParameters();
  c10::NoGradGuard no_gradient;
  const at::ScalarType type = scalar_type(config_.dtype);
  auto* bytes = const_cast<std::byte*>(weights->bytes().data());  // which nobody writes to
  const at::Tensor flat =
      at::from_blob(bytes, {static_cast<int64_t>(layout_.bytes / at::elementSize(type))},
                    at::TensorOptions().dtype(type));
  auto frozen = std::make_shared<DecoderParameters>(parameters_of(
      config_, flat, [&](const std::string& name) { return part(flat, layout_, name); }));
  frozen->storage = weights;
  pack(*frozen);
  return FrozenParameters(std::move(frozen));
}

WeightsPtr Decoder::snapshot(uint64_t version, const AllocateWeights& allocate) const {
  WeightsManifest manifest = layout_;
  manifest.version = version;
  auto bytes = allocate(manifest.bytes);
  c10::NoGradGuard no_gradient;
  at::from_blob(bytes.get(), flat().sizes(), flat().options().device(at::kCPU)).copy_(flat());
  manifest.checksum = weights_checksum({bytes.get(), manifest.bytes});
  return std::make_shared<Weights>(std::move(manifest), std::move(bytes));
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
  TW_CHECK(parameters_ != nullptr, "no weights were loaded");
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
  return ops::linear(ops::rms_norm(hidden, parameters_->final_norm, config_.norm_eps),
                     parameters_->head)
      .to(at::kFloat);
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
