// Losses over the head in parts against autograd over all rows at once.
#include "learner/head_loss.hpp"

#include <ATen/ATen.h>

#include <catch2/catch.hpp>

#include "model/logprobs.hpp"
#include "tests/tiny_model.hpp"

using namespace tracewise;

namespace {

struct Gradients {
  double loss = 0;
  at::Tensor flat;
};

constexpr int64_t kRows = 19;

// The loss sum_r (r + 1) * logprob_r of two sequences, and the gradient of all parameters.
// at_once 0: by autograd alone.
Gradients gradients(const ModelConfig& config, int64_t at_once) {
  Decoder decoder(config, Decoder::Mode::kTraining, at::kCPU);
  REQUIRE(decoder.load(testing::random_weights(config, 1)).ok());
  PackedTokens packed;
  packed.append(testing::random_tokens(13, 5), 1);
  packed.append(testing::random_tokens(9, 3), 2);
  REQUIRE(static_cast<int64_t>(packed.rows.size()) == kRows);
  const at::Tensor targets = at::tensor(packed.targets, at::kLong);
  const at::Tensor scale = at::arange(1, kRows + 1, at::kFloat);
  const at::Tensor hidden = predicting_hidden(decoder, packed);
  at::Tensor loss;
  if (at_once == 0) {
    loss = (token_logprobs(decoder.logits(hidden), targets) * scale).sum();
  } else {
    loss = head_loss(decoder, hidden, targets, at_once,
                     [&](int64_t begin, const at::Tensor& logprobs, const at::Tensor& logits) {
                       CHECK(logits.size(0) == std::min(at_once, kRows - begin));
                       return (logprobs * scale.narrow(0, begin, logprobs.size(0))).sum();
                     });
  }
  loss.backward();
  return {loss.item<double>(), decoder.flat_gradient().clone()};
}

}  // namespace

TEST_CASE("a loss over the head in parts has the gradient of all rows at once") {
  ModelConfig config = testing::tiny_model();
  for (const bool tied : {false, true}) {
    config.tied_head = tied;
    const Gradients expected = gradients(config, 0);
    const Gradients whole = gradients(config, kRows);
    CHECK(whole.loss == expected.loss);
    CHECK(at::equal(whole.flat, expected.flat));
    for (const int64_t at_once : {1, 7, 18}) {
      const Gradients parts = gradients(config, at_once);
      INFO("tied " << tied << ", " << at_once << " rows at once");
      CHECK(parts.loss == Approx(expected.loss).epsilon(1e-6));
      const double scale = expected.flat.abs().max().item<double>();
      CHECK((parts.flat - expected.flat).abs().max().item<double>() < 1e-6 * scale);
    }
  }
}

TEST_CASE("a loss of no rows is 0 and has a gradient of 0 for every parameter") {
  const ModelConfig config = testing::tiny_model();
  Decoder decoder(config, Decoder::Mode::kTraining, at::kCPU);
  REQUIRE(decoder.load(testing::random_weights(config, 1)).ok());
  std::vector<int64_t> told(static_cast<size_t>(decoder.flat().numel()));
  decoder.on_gradient([&](int64_t begin, int64_t count) {
    for (int64_t i = begin; i < begin + count; ++i) ++told[static_cast<size_t>(i)];
  });
  PackedTokens packed;
  packed.append(testing::random_tokens(5, 5), 5);
  const at::Tensor loss = head_loss(
      decoder, predicting_hidden(decoder, packed), at::empty({0}, at::kLong), 7,
      [](int64_t, const at::Tensor& logprobs, const at::Tensor&) { return logprobs.sum(); });
  loss.backward();
  CHECK(loss.item<double>() == 0);
  CHECK(decoder.flat_gradient().abs().max().item<double>() == 0);
  CHECK(told == std::vector<int64_t>(told.size(), 1));
}

TEST_CASE("log-probabilities have the same bits however many rows are computed at once") {
  ModelConfig config = testing::tiny_model();
  config.vocab_size = 600'000;  // of which 27 rows are computed at once
  config.tied_head = true;
  config.width = 4, config.heads = 1, config.kv_heads = 1, config.head_dim = 4;
  config.mlp_width = 4, config.layers = 1;
  Decoder decoder(config, Decoder::Mode::kInference, at::kCPU);
  REQUIRE(decoder.load(testing::random_weights(config, 1)).ok());
  REQUIRE(rows_at_once(decoder) == 27);
  PackedTokens packed;
  packed.append(testing::random_tokens(41, 5), 1);
  const at::Tensor all =
      token_logprobs(predict(decoder, packed), at::tensor(packed.targets, at::kLong));
  CHECK(at::equal(predict_logprobs(decoder, packed), all.detach()));
}

TEST_CASE("activation checkpointing gives the bits of the gradient that keeps all activations") {
  for (const char* kind : {"llama", "qwen2", "qwen3"}) {
    ModelConfig config = testing::tiny_model();
    config.qkv_bias = std::string(kind) == "qwen2";
    config.qk_norm = std::string(kind) == "qwen3";
    config.tied_head = config.qk_norm;
    Decoder decoder(config, Decoder::Mode::kTraining, at::kCPU);
    REQUIRE(decoder.load(testing::random_weights(config, 1)).ok());
    PackedTokens packed;
    packed.append(testing::random_tokens(13, 5), 1);
    packed.append(testing::random_tokens(9, 3), 2);
    const auto gradient = [&](bool checkpointed) {
      decoder.flat_gradient().zero_();
      predicting_hidden(decoder, packed, checkpointed).pow(2).sum().backward();
      return decoder.flat_gradient().clone();
    };
    const at::Tensor expected = gradient(false);
    INFO(kind);
    CHECK(expected.abs().max().item<double>() > 0);
    CHECK(at::equal(gradient(true), expected));
  }
}
