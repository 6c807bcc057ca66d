// The decoder's gradients and its two attentions, on small random models.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>
#include <catch2/catch.hpp>

#include <cmath>

#include "model/kv_cache.hpp"
#include "model/logprobs.hpp"
#include "model/rope.hpp"
#include "tests/tiny_model.hpp"

using namespace tracewise;
using testing::random_tokens;
using testing::random_weights;

namespace {

at::Tensor ids(std::vector<int64_t> x) { return at::tensor(x, at::kLong); }

ModelConfig tiny_model(const std::string& dtype) {
  ModelConfig config = testing::tiny_model();
  config.dtype = dtype;
  return config;
}

}  // namespace

TEST_CASE("a snapshot of loaded weights has their bytes and checksum") {
  const ModelConfig config = testing::tiny_model();
  const WeightsPtr weights = random_weights(config, 1);
  Decoder decoder(config, Decoder::Mode::kTraining, at::kCPU);
  REQUIRE(decoder.load(weights).ok());
  const WeightsPtr copy = decoder.snapshot(7);
  CHECK(copy->version() == 7);
  CHECK(copy->manifest().checksum == weights->manifest().checksum);
}

TEST_CASE("a snapshot lies in the storage that it was given, and nowhere else") {
  const ModelConfig config = testing::tiny_model();
  const WeightsPtr weights = random_weights(config, 1);
  Decoder decoder(config, Decoder::Mode::kTraining, at::kCPU);
  REQUIRE(decoder.load(weights).ok());
  std::shared_ptr<std::byte[]> storage;
  const WeightsPtr copy = decoder.snapshot(7, [&](uint64_t bytes) {
    storage = allocate_weights(bytes);
    return storage;
  });
  CHECK(copy->bytes().data() == storage.get());
  CHECK(std::ranges::equal(copy->bytes(), weights->bytes()));
}

TEST_CASE("weights of another shape are refused with the tensor's name and change nothing") {
  const ModelConfig config = testing::tiny_model();
  Decoder decoder(config, Decoder::Mode::kInference, at::kCPU);
  REQUIRE(decoder.load(random_weights(config, 1)).ok());
  const uint64_t before = decoder.snapshot(0)->manifest().checksum;
  ModelConfig other = config;
  other.mlp_width = 48;
  const auto refused = decoder.load(random_weights(other, 1));
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().error_class == ErrorClass::kBadInput);
  CHECK(refused.error().message.find("mlp") != std::string::npos);
  CHECK(decoder.snapshot(0)->manifest().checksum == before);
}

TEST_CASE("a sequence's logits have the same bits alone and packed among others") {
  const ModelConfig config = tiny_model(GENERATE("F32", "BF16"));
  Decoder decoder(config, Decoder::Mode::kInference, at::kCPU);
  REQUIRE(decoder.load(random_weights(config, 1)).ok());
  PackedTokens alone, among;
  alone.append(random_tokens(19, 5), 1);
  among.append(random_tokens(7, 3), 1);
  among.append(random_tokens(19, 5), 1);
  among.append(random_tokens(33, 4), 1);
  c10::NoGradGuard no_gradient;
  const at::Tensor expected = predict(decoder, alone);
  CHECK(at::equal(predict(decoder, among).narrow(0, 6, 18), expected));
}

TEST_CASE("training mode predicts the bits of inference mode") {
  const ModelConfig config = tiny_model(GENERATE("F32", "BF16"));
  const WeightsPtr weights = random_weights(config, 1);
  Decoder inference(config, Decoder::Mode::kInference, at::kCPU);
  Decoder training(config, Decoder::Mode::kTraining, at::kCPU);
  REQUIRE(inference.load(weights).ok());
  REQUIRE(training.load(weights).ok());
  PackedTokens packed;
  packed.append(random_tokens(19, 5), 1);
  CHECK(at::equal(predict(inference, packed), predict(training, packed).detach()));
}

TEST_CASE("decoding token by token on scattered cache blocks gives the bits of the packed pass") {
  ModelConfig config = tiny_model(GENERATE("F32", "BF16"));
  SECTION("that all see all tokens before them") {}
  SECTION("whose layers see the last 19, and the last 5") { config.windows = {19, 5}; }
  Decoder decoder(config, Decoder::Mode::kInference, at::kCPU);
  REQUIRE(decoder.load(random_weights(config, 1)).ok());
  c10::NoGradGuard no_gradient;
  const auto tokens = random_tokens(40, 9);
  PackedTokens packed;
  packed.append(tokens, 1);
  const at::Tensor expected = predict(decoder, packed);  // [39, V]

  KvCache cache(config, 8, 16, at::kCPU);
  const std::vector<int32_t> table = {5, 0, 3};
  std::vector<at::Tensor> rows;
  for (int64_t t = 0; t < 39;) {
    const int64_t chunk = t == 0 ? 10 : 1;  // a prefill, then one by one
    PagedAttention attention(cache, {{table, t, chunk}});
    std::vector<int64_t> some(tokens.begin() + t, tokens.begin() + t + chunk), positions;
    for (int64_t i = 0; i < chunk; ++i) positions.push_back(t + i);
    rows.push_back(decoder.logits(decoder.hidden(ids(some), ids(positions), attention)));
    t += chunk;
  }
  CHECK(at::equal(at::cat(rows), expected));
}

TEST_CASE("a row of a product has the same bits however many rows and threads there are") {
  at::manual_seed(1);
  const at::ScalarType dtype = GENERATE(at::kFloat, at::kBFloat16);
  const at::Tensor x = at::randn({300, 320}).to(dtype);
  ops::LinearWeight weight;
  weight.weight = at::randn({272, 320}).to(dtype);
  weight.bias = at::randn({272}).to(dtype);
  c10::NoGradGuard no_gradient;
  ops::freeze(weight);
  at::set_num_threads(1);
  const at::Tensor all = ops::linear(x, weight), wide = ops::linear_wide(x, weight);
  at::set_num_threads(2);
  CHECK(at::equal(ops::linear(x, weight), all));
  for (const int64_t rows : {1, 7, 40, 200}) {
    CHECK(at::equal(ops::linear(x.narrow(0, 3, rows), weight), all.narrow(0, 3, rows)));
    CHECK(at::equal(ops::linear_wide(x.narrow(0, 3, rows), weight), wide.narrow(0, 3, rows)));
  }
  CHECK(wide.scalar_type() == at::kFloat);
  CHECK(at::equal(wide.to(dtype), all));
}

TEST_CASE("ATen's paths agree with the kernels' to 1e-4") {
  at::manual_seed(1);
  const at::Tensor q = at::randn({9, 4, 12}), k = at::randn({9, 2, 12}), v = at::randn({9, 2, 12});
  const std::vector<int64_t> starts = {0, 4, 9};
  for (const int64_t window : {0, 3}) {
    const at::Tensor ours = ops::packed_attention(q, k, v, starts, window);
    const at::Tensor theirs = ops::packed_attention(q.to(at::kDouble), k.to(at::kDouble),
                                                    v.to(at::kDouble), starts, window);
    CHECK((ours - theirs.to(at::kFloat)).abs().max().item<float>() < 1e-5f);
  }

  const at::Tensor x = at::randn({5, 12}), w = at::randn({12});
  CHECK((ops::rms_norm(x, w, 1e-5) - at::rms_norm(x, {12}, w, 1e-5)).abs().max().item<float>() <
        1e-5f);
  CHECK((ops::swiglu(x, x * 0.5) - at::silu(x) * (x * 0.5)).abs().max().item<float>() < 1e-5f);
}

TEST_CASE("gradients of the packed pass equal ATen's in double precision, those of bf16 nearly") {
  // One block written twice: with our operations, with ATen's autograd in fp64.
  ModelConfig angles;
  angles.max_context = 16, angles.head_dim = 12;
  const auto table = make_rope_table(angles, at::kCPU);
  const at::Tensor positions = ids({0, 1, 2, 0, 1, 2, 3});
  const std::vector<int64_t> starts = {0, 3, 7};
  at::manual_seed(1);
  const auto matrix = [](int64_t out, int64_t in) { return at::randn({out, in}) / std::sqrt(in); };
  std::vector<at::Tensor> inputs = {at::randn({7, 24}), at::randn({24}), matrix(48, 24),
                                    matrix(24, 24),     matrix(24, 24),  at::randn({24}),
                                    matrix(24, 48)};
  for (at::Tensor& x : inputs) x = x.to(at::kBFloat16).to(at::kFloat);  // the same in all dtypes
  const at::Tensor mask = at::randn({7, 24}).to(at::kBFloat16);
  const auto run = [&](at::ScalarType type) {
    std::vector<at::Tensor> p;
    for (const at::Tensor& x : inputs)
      p.push_back(x.detach().clone().to(type).requires_grad_(true));
    const bool ours = type != at::kDouble;
    const at::Tensor x =
        ours ? ops::rms_norm(p[0], p[1], 1e-5) : at::rms_norm(p[0], {24}, p[1], 1e-5);
    const auto linear = [&](const at::Tensor& in, const at::Tensor& w, const at::Tensor& b) {
      return ours ? ops::linear(in, {w, b, {}}) : at::linear(in, w, b);
    };
    const at::Tensor q = ops::rope(linear(x, p[2], {}).view({7, 4, 12}), positions, table);
    const at::Tensor k = ops::rope(linear(x, p[3], {}).view({7, 2, 12}), positions, table);
    const at::Tensor v = linear(x, p[4], p[5]).view({7, 2, 12});
    const at::Tensor a = ops::packed_attention(q, k, v, starts).reshape({7, 48});
    const at::Tensor y = linear(ops::swiglu(a, a * 0.3 + 1), p[6], {});
    (y * mask.to(type)).sum().backward();
    std::vector<at::Tensor> gradients;
    for (const at::Tensor& x : p) gradients.push_back(x.grad().to(at::kDouble));
    return gradients;
  };
  const auto theirs = run(at::kDouble);
  for (const auto& [type, tolerance] : {std::pair(at::kFloat, 1e-5), {at::kBFloat16, 0.02}}) {
    const auto ours = run(type);
    for (size_t i = 0; i < ours.size(); ++i) {
      INFO(toString(type) << ", input " << i);
      const double scale = theirs[i].abs().max().item<double>();
      CHECK((ours[i] - theirs[i]).abs().max().item<double>() < tolerance * scale);
    }
  }
}
