// A Llama-style decoder: RMSNorm, RoPE, grouped-query attention, SwiGLU, tied or untied head,
// optional bias on q, k, v (Qwen2) and norm on q and k (Qwen3). The engine and the learner run this
// one class; they differ in the Attention they hand it.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "messages/result.hpp"
#include "model/model_config.hpp"
#include "model/ops.hpp"
#include "model/weights.hpp"

namespace tracewise {

// What a token may look at. Called once a layer, in order.
class Attention {
 public:
  virtual ~Attention() = default;
  // q [N, heads, head_dim], k and v [N, kv_heads, head_dim], q and k rotated. A token sees at most
  // `window` keys, its own included; 0: all before it. Returns [N, heads, head_dim].
  virtual at::Tensor attend(int64_t layer, const at::Tensor& q, const at::Tensor& k,
                            const at::Tensor& v, int64_t window) = 0;
};

// Whole sequences one behind the other, without a cache: the learner's.
class PackedAttention final : public Attention {
 public:
  // starts [S + 1]: sequence s is tokens starts[s] .. starts[s+1].
  explicit PackedAttention(std::vector<int64_t> starts) : starts_(std::move(starts)) {}
  at::Tensor attend(int64_t layer, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                    int64_t window) override;

 private:
  std::vector<int64_t> starts_;
};

// A version's parameters as a decoder for inference computes with them: nobody changes them.
struct DecoderParameters;
using FrozenParameters = std::shared_ptr<const DecoderParameters>;

// One thread at a time may use a decoder. Parameters live in one flat tensor.
class Decoder {
 public:
  enum class Mode { kInference, kTraining };

  // kInference: no gradients, weights in the kernels' layout.
  // kTraining: every parameter, or with an adapter every A and B, is a leaf whose gradient is a
  // part of flat_gradient().
  Decoder(const ModelConfig& config, Mode mode, at::Device device);

  // kBadInput if the layout is another model's.
  Result<void> check(const Weights& weights) const;

  // Takes a version; one that fails check() leaves the old weights. kTraining and GPUs copy it, a
  // kInference decoder on the CPU computes with the storage of `weights` itself.
  //
  // Where config.adapter has a rank, versions are adapters, and the decoder computes with the base
  // plus the version's A and B, always added to the base itself. The first version brings the base
  // (Weights::base()); later ones need not, and must be of the same.
  Result<void> load(const WeightsPtr& weights);

  // kInference. The costly part of load() on the CPU, in any thread and beside any other call;
  // use() then only exchanges pointers. Null on other devices, where load() copies in place.
  Result<FrozenParameters> freeze(const WeightsPtr& weights) const;
  void use(FrozenParameters parameters) { parameters_ = std::move(parameters); }

  // With an adapter: another decoder, of the base alone, for inference; it shares the base's
  // tensors, which it neither copies nor packs, and lives on without this one.
  std::unique_ptr<Decoder> base_decoder() const;

  // Copies the version's parameters out, into storage of `allocate`, as version `version`; checksum
  // filled in.
  WeightsPtr snapshot(uint64_t version, const AllocateWeights& allocate = allocate_weights) const;

  // kTraining: from now on each backward pass calls `added` for each parameter once, as soon as it
  // has added that parameter's gradient to elements [begin, begin + count) of flat_gradient(), in
  // which padding behind the parameter is included. On the pass's thread; must not throw.
  void on_gradient(std::function<void(int64_t begin, int64_t count)> added);

  // tokens, positions: [N] int64 -> [N, width], before the final norm.
  at::Tensor hidden(const at::Tensor& tokens, const at::Tensor& positions,
                    Attention& attention) const;

  // The same, in kTraining: of each layer's activations only its input is kept for the backward
  // pass, until which the weights must stay.
  at::Tensor checkpointed_hidden(const at::Tensor& tokens, const at::Tensor& positions,
                                 std::shared_ptr<Attention> attention) const;

  // [R, width] -> [R, vocab] fp32
  at::Tensor logits(const at::Tensor& hidden) const;

  // What logits() computes with: the final norm [width] and the head [vocab, width]; a tied head is
  // the embedding.
  std::pair<at::Tensor, at::Tensor> head_parameters() const;

  // Of what an adapter is added to; 0 without one, or before its first version.
  uint64_t base_checksum() const { return base_ ? base_->manifest().checksum : 0; }

  const ModelConfig& config() const { return config_; }
  at::Device device() const { return device_; }
  // [bytes / element] with padding: a version's parameters. Whoever writes to it calls
  // flat_changed() before the next pass.
  at::Tensor flat() const;
  void flat_changed();
  at::Tensor flat_gradient() const { return flat_gradient_; }  // same shape; undefined in inference

 private:
  // A leaf of the graph, and the elements of flat() that it is, with the padding behind it.
  struct Leaf {
    at::Tensor tensor;
    int64_t begin = 0, count = 0;
  };

  void add_leaf(const at::Tensor& flat, const std::string& name);
  at::Tensor take(const at::Tensor& flat, const std::string& name) const;
  void take_base(WeightsPtr base);
  DecoderParameters with_base(const at::Tensor& elements) const;
  bool shares_storage() const;
  bool has_adapter() const { return config_.adapter.rank > 0; }
  at::Tensor layer_output(size_t layer, const at::Tensor& x, const at::Tensor& positions,
                          Attention& attention) const;
  at::Tensor attention_block(size_t layer, const at::Tensor& x, const at::Tensor& positions,
                             Attention& attention) const;

  ModelConfig config_;
  Mode mode_;
  at::Device device_;
  WeightsManifest layout_;       // of a version
  WeightsPtr base_;              // what an adapter is added to; null before the first version
  FrozenParameters parameters_;  // null before the first version of inference on the CPU
  at::Tensor flat_gradient_;
  std::vector<Leaf> leaves_;  // kTraining only; in the layout's order
  ops::RopeTable rope_;
};

// "cpu" or "cuda:N". kUnsupported where this build or machine lacks the device.
Result<at::Device> parse_device(const std::string& name);

}  // namespace tracewise
