// The tensors that a decoder computes with. For model/decoder alone.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "model/model_config.hpp"
#include "model/ops.hpp"
#include "model/weights.hpp"

namespace tracewise {

struct DecoderParameters {
  struct Layer {
    at::Tensor input_norm, post_norm, q_norm, k_norm;
    ops::LinearWeight q, k, v, out, gate, up, down;

    ops::LinearWeight& linear(const std::string& module);  // of adapter_modules()
    std::vector<at::Tensor> tensors() const;               // all that its output depends on
  };

  WeightsPtr storage;  // that `base` lies in; null: its own
  at::Tensor flat;     // a version's elements, with padding
  at::Tensor base;     // with an adapter: the whole weights' elements; else `flat` itself
  at::Tensor embedding, final_norm;
  ops::LinearWeight head;
  std::vector<Layer> layers;
};

at::ScalarType scalar_type(const std::string& dtype);  // "F32" or "BF16"

// The elements of `weights`, in its own storage: nobody may write to them.
at::Tensor view_of(const Weights& weights);

using TakeTensor = std::function<at::Tensor(const std::string& name)>;

// The tensor `name` of a layout, in the flat tensor of all its elements.
at::Tensor part(const at::Tensor& flat, const WeightsManifest& layout, const std::string& name);

// The elements of a flat tensor that are one of its layout's.
struct Extent {
  size_t index = 0;  // in the layout
  int64_t begin = 0, count = 0;
};
Extent extent(const WeightsManifest& layout, int64_t element_bytes, const std::string& name);

// `take`: of whole weights, by Hugging Face's names.
DecoderParameters parameters_of(const ModelConfig& config, const at::Tensor& base,
                                const TakeTensor& take);

// Makes each target of config.adapter a sum, still to be added up. `take`: of the adapter's
// tensors, by PEFT's names.
void add_adapter(DecoderParameters& parameters, const ModelConfig& config, const TakeTensor& take);

// Adds up each sum, over what it was before.
void merge(DecoderParameters& parameters);

// The kernels' layout of all projections. Sums that were added up are weights like others then.
void pack(DecoderParameters& parameters);

}  // namespace tracewise
