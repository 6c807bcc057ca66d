#include "model/decoder_parameters.hpp"

#include <ATen/ATen.h>

#include "model/adapter.hpp"

namespace tracewise {
namespace {

template <class Parameters, class F>
void for_each_linear(Parameters& p, const F& f) {
  for (DecoderParameters::Layer& l : p.layers)
    for (ops::LinearWeight* w : {&l.q, &l.k, &l.v, &l.out, &l.gate, &l.up, &l.down}) f(*w);
}

}  // namespace

ops::LinearWeight& DecoderParameters::Layer::linear(const std::string& module) {
  const auto& modules = adapter_modules();
  ops::LinearWeight* const linears[] = {&q, &k, &v, &out, &gate, &up, &down};
  for (size_t i = 0; i < modules.size(); ++i)
    if (modules[i] == module) return *linears[i];
  TW_CHECK(false, "no module of a layer: " + module);
}

std::vector<at::Tensor> DecoderParameters::Layer::tensors() const {
  std::vector<at::Tensor> all = {input_norm, post_norm};
  for (const at::Tensor& norm : {q_norm, k_norm})
    if (norm.defined()) all.push_back(norm);
  for (const ops::LinearWeight* w : {&q, &k, &v, &out, &gate, &up, &down}) {
    all.push_back(w->weight);
    if (w->bias.defined()) all.push_back(w->bias);
    if (w->low_rank) all.insert(all.end(), {w->low_rank->a, w->low_rank->b});
  }
  return all;
}

at::ScalarType scalar_type(const std::string& dtype) {
  TW_CHECK(dtype == "F32" || dtype == "BF16", "no tensor type for dtype " + dtype);
  return dtype == "F32" ? at::kFloat : at::kBFloat16;
}

at::Tensor view_of(const Weights& weights) {
  const at::ScalarType type = scalar_type(weights.manifest().dtype);
  auto* bytes = const_cast<std::byte*>(weights.bytes().data());
  return at::from_blob(bytes,
                       {static_cast<int64_t>(weights.bytes().size() / at::elementSize(type))},
                       at::TensorOptions().dtype(type));
}

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

DecoderParameters parameters_of(const ModelConfig& config, const at::Tensor& base,
                                const TakeTensor& take) {
  DecoderParameters p;
  p.flat = p.base = base;
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

void add_adapter(DecoderParameters& p, const ModelConfig& config, const TakeTensor& take) {
  for (int64_t i = 0; i < config.layers; ++i) {
    for (const std::string& module : config.adapter.targets) {
      ops::LinearWeight& w = p.layers[static_cast<size_t>(i)].linear(module);
      w.low_rank = {w.weight, take(adapter_tensor_name(i, module, 'A')),
                    take(adapter_tensor_name(i, module, 'B')), config.adapter.scale()};
      w.weight = at::Tensor();
    }
  }
}

void merge(DecoderParameters& p) {
  for_each_linear(p, [](ops::LinearWeight& w) {
    if (!w.low_rank) return;
    const at::Tensor sum = ops::merged(*w.low_rank);
    if (w.weight.defined())
      w.weight.copy_(sum);
    else
      w.weight = sum;
  });
}

void pack(DecoderParameters& p) {
  for_each_linear(p, [](ops::LinearWeight& w) {
    w.low_rank.reset();
    ops::freeze(w);
  });
  ops::freeze(p.head);
}

}  // namespace tracewise
