// What a decoder computes with an adapter; adapters that PEFT saved
// (scripts/make_golden_adapters.py).
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <catch2/catch.hpp>
#include <fstream>
#include <nlohmann/json.hpp>

#include "messages/random.hpp"
#include "model/adapter.hpp"
#include "model/adapter_folder.hpp"
#include "model/logprobs.hpp"
#include "model/merge_adapter.hpp"
#include "model/model_folder.hpp"
#include "model/safetensors.hpp"
#include "tests/tiny_model.hpp"

using namespace tracewise;

namespace {

namespace fs = std::filesystem;

const fs::path kData = TRACEWISE_TEST_DATA;
const char* const kAdapters[] = {"llama_all", "qwen2_some", "qwen3_attention"};

struct Golden {
  fs::path dir;
  ModelConfig config;
  WeightsPtr adapter;
  nlohmann::json values;
};

Golden load_golden(const std::string& name) {
  Golden golden{kData / "adapters" / name, {}, {}, {}};
  const auto stated = nlohmann::json::parse(std::ifstream(golden.dir / "adapter_config.json"));
  auto base = load_model_weights(golden.dir / stated["base_model_name_or_path"]);
  REQUIRE(base.ok());
  golden.config = base->config;
  auto adapter = load_adapter(golden.dir, base->weights, golden.config);
  INFO(name << ": " << (adapter.ok() ? "" : adapter.error().message));
  REQUIRE(adapter.ok());
  golden.adapter = *adapter;
  golden.values = nlohmann::json::parse(std::ifstream(golden.dir / "golden.json"));
  return golden;
}

Decoder make_decoder(const ModelConfig& config, Decoder::Mode mode, const WeightsPtr& weights) {
  Decoder decoder(config, mode, at::kCPU);
  REQUIRE(decoder.load(weights).ok());
  return decoder;
}

PackedTokens pack(const nlohmann::json& sequences) {
  PackedTokens packed;
  for (const auto& tokens : sequences) packed.append(tokens.get<std::vector<int32_t>>(), 1);
  return packed;
}

at::Tensor logits_of(const Decoder& decoder, const PackedTokens& packed) {
  return predict(decoder, packed).detach();
}

// Random A and B over random weights.
struct Tiny {
  ModelConfig config = testing::tiny_model();
  WeightsPtr base = testing::random_weights(config, 1);
  PackedTokens packed;

  Tiny() {
    config.adapter = {2, 4, false, {"k_proj", "o_proj", "up_proj"}};
    packed.append(testing::random_tokens(9, 1), 1);
  }
  WeightsPtr adapter(uint32_t seed) const {
    const WeightsPtr start = initial_adapter(config, base, seed);
    WeightsManifest manifest = start->manifest();
    auto bytes = allocate_weights(manifest.bytes);
    auto* x = reinterpret_cast<float*>(bytes.get());
    SplitMix random(seed);
    for (uint64_t i = 0; i < manifest.bytes / 4; ++i) x[i] = static_cast<float>(random.normal());
    manifest.version = seed;
    manifest.checksum = weights_checksum({bytes.get(), manifest.bytes});
    return std::make_shared<Weights>(manifest, bytes, base);
  }
};

}  // namespace

TEST_CASE("logits of adapters that PEFT saved equal PEFT's to 1e-4, also merged") {
  c10::NoGradGuard no_gradient;
  for (const char* name : kAdapters) {
    INFO(name);
    const Golden golden = load_golden(name);
    const Decoder adapted = make_decoder(golden.config, Decoder::Mode::kInference, golden.adapter);
    ModelConfig whole = golden.config;
    const WeightsPtr sum = merge_adapter(whole, *golden.adapter);
    CHECK(whole.adapter.rank == 0);
    const Decoder merged = make_decoder(whole, Decoder::Mode::kInference, sum);
    const PackedTokens packed = pack(golden.values["tokens"]);
    const at::Tensor logits = logits_of(adapted, packed);
    CHECK(at::equal(logits_of(merged, packed), logits));
    int64_t row = 0;
    double largest = 0;
    for (const auto& sequence : golden.values["logits"]) {
      for (size_t t = 0; t + 1 < sequence.size(); ++t, ++row) {
        const auto theirs = at::tensor(sequence[t].get<std::vector<float>>());
        largest = std::max(largest, (logits[row] - theirs).abs().max().item<double>());
      }
    }
    CHECK(row == 20);
    CHECK(largest < 1e-4);
  }
}

TEST_CASE("gradients of A and B equal PEFT's, and the learner's logits the generator's bits") {
  for (const char* name : kAdapters) {
    for (const bool checkpointed : {false, true}) {
      INFO(name << ", checkpointed: " << checkpointed);
      const Golden golden = load_golden(name);
      const Decoder decoder = make_decoder(golden.config, Decoder::Mode::kTraining, golden.adapter);
      const PackedTokens packed = pack(golden.values["tokens"]);
      const at::Tensor logits = decoder.logits(predicting_hidden(decoder, packed, checkpointed));
      const Decoder generator =
          make_decoder(golden.config, Decoder::Mode::kInference, golden.adapter);
      {
        c10::NoGradGuard no_gradient;
        CHECK(at::equal(logits_of(generator, packed), logits.detach()));
      }
      const at::Tensor loss = -token_logprobs(logits, at::tensor(packed.targets)).mean();
      CHECK(loss.item<double>() == Approx(golden.values["loss"].get<double>()).epsilon(1e-5));
      loss.backward();
      const auto theirs = SafetensorsFile::open(golden.dir / "gradients.safetensors");
      REQUIRE(theirs.ok());
      const WeightsManifest layout = version_layout(golden.config);
      CHECK(theirs->tensors().size() == layout.tensors.size());
      for (const TensorEntry& entry : layout.tensors) {
        const TensorView* view = theirs->find(entry.name);
        REQUIRE(view != nullptr);
        at::Tensor expected = at::empty({static_cast<int64_t>(entry.bytes / 4)});
        std::copy(view->bytes.begin(), view->bytes.end(),
                  static_cast<std::byte*>(expected.data_ptr()));
        const at::Tensor ours = decoder.flat_gradient().narrow(
            0, static_cast<int64_t>(entry.offset / 4), expected.numel());
        INFO(entry.name);
        CHECK((ours - expected).abs().max().item<double>() <
              1e-5 * (1 + expected.abs().max().item<double>()));
        CHECK(expected.abs().max().item<double>() > 1e-4);
      }
    }
  }
}

TEST_CASE("an adapter that was just made computes what its base does, bit for bit") {
  const Tiny tiny;
  const WeightsPtr start = initial_adapter(tiny.config, tiny.base, 7);
  const Decoder base = make_decoder(testing::tiny_model(), Decoder::Mode::kInference, tiny.base);
  c10::NoGradGuard no_gradient;
  const at::Tensor expected = logits_of(base, tiny.packed);
  for (const auto mode : {Decoder::Mode::kInference, Decoder::Mode::kTraining})
    CHECK(at::equal(logits_of(make_decoder(tiny.config, mode, start), tiny.packed), expected));
  // Uniform in +-1/sqrt(in): of k_proj's 2 * 32 elements some exceed half of it, none all of it.
  const auto* a = reinterpret_cast<const float*>(start->bytes().data());
  float most = 0;
  for (int i = 0; i < 64; ++i) most = std::max(most, std::abs(a[i]));
  CHECK(most < 1 / std::sqrt(32.0f));
  CHECK(most > 0.5f / std::sqrt(32.0f));
  const WeightsPtr other = initial_adapter(tiny.config, tiny.base, 8);
  CHECK(other->manifest().checksum != start->manifest().checksum);
}

TEST_CASE("versions of an adapter are added to the base, never to each other") {
  c10::NoGradGuard no_gradient;
  const Tiny tiny;
  for (const auto mode : {Decoder::Mode::kInference, Decoder::Mode::kTraining}) {
    Decoder decoder = make_decoder(tiny.config, mode, tiny.adapter(1));
    const at::Tensor first = logits_of(decoder, tiny.packed);
    // As it comes over a transport: without its base.
    const WeightsPtr second = tiny.adapter(2);
    REQUIRE(decoder.load(std::make_shared<Weights>(second->manifest(), second->storage())).ok());
    CHECK_FALSE(at::equal(logits_of(decoder, tiny.packed), first));
    REQUIRE(decoder.load(tiny.adapter(1)).ok());
    CHECK(at::equal(logits_of(decoder, tiny.packed), first));
  }
}

TEST_CASE("the base of a decoder with an adapter is there without it") {
  c10::NoGradGuard no_gradient;
  const Tiny tiny;
  const Decoder base = make_decoder(testing::tiny_model(), Decoder::Mode::kInference, tiny.base);
  auto decoder = std::make_unique<Decoder>(tiny.config, Decoder::Mode::kTraining, at::kCPU);
  REQUIRE(decoder->load(tiny.adapter(3)).ok());
  const auto shared = decoder->base_decoder();
  decoder.reset();
  CHECK(at::equal(logits_of(*shared, tiny.packed), logits_of(base, tiny.packed)));
}

TEST_CASE("in bf16 the sum is rounded once, and both sides compute with the same") {
  c10::NoGradGuard no_gradient;
  Tiny tiny;
  ModelConfig whole = testing::tiny_model();
  tiny.base = cast_weights(whole, tiny.base, "BF16");
  tiny.config.dtype = whole.dtype = "BF16";
  const WeightsPtr adapter = tiny.adapter(4);
  CHECK(adapter->manifest().dtype == "F32");
  ModelConfig merged_config = tiny.config;
  const WeightsPtr merged = merge_adapter(merged_config, *adapter);
  CHECK(merged->manifest().dtype == "BF16");
  const at::Tensor expected =
      logits_of(make_decoder(merged_config, Decoder::Mode::kInference, merged), tiny.packed);
  for (const auto mode : {Decoder::Mode::kInference, Decoder::Mode::kTraining})
    CHECK(at::equal(logits_of(make_decoder(tiny.config, mode, adapter), tiny.packed), expected));
  // k_proj [24, 32] of layer 0: base + 4 / 2 * B A.
  const auto element = [](const Weights& w, const std::string& name, int64_t index) {
    for (const TensorEntry& e : w.manifest().tensors)
      if (e.name == name)
        return reinterpret_cast<const c10::BFloat16*>(w.bytes().data() + e.offset)[index];
    return c10::BFloat16(NAN);
  };
  const std::string name = "model.layers.0.self_attn.k_proj.weight";
  const auto* ab = reinterpret_cast<const float*>(adapter->bytes().data());
  const float *a = ab, *b = ab + 64;  // A [2, 32], B [24, 2]
  const float sum = static_cast<float>(element(*tiny.base, name, 5 * 32 + 3)) +
                    2 * (b[5 * 2] * a[3] + b[5 * 2 + 1] * a[32 + 3]);
  CHECK(static_cast<float>(element(*merged, name, 5 * 32 + 3)) ==
        Approx(sum).epsilon(0.005));  // 2^-8 and a rounding
}

TEST_CASE("an adapter of other weights, or of another layout, is refused and changes nothing") {
  c10::NoGradGuard no_gradient;
  const Tiny tiny;
  Tiny other;
  other.base = testing::random_weights(testing::tiny_model(), 2);
  Decoder decoder = make_decoder(tiny.config, Decoder::Mode::kInference, tiny.adapter(1));
  const at::Tensor before = logits_of(decoder, tiny.packed);
  const auto of_other = decoder.load(other.adapter(2));
  REQUIRE_FALSE(of_other.ok());
  CHECK(of_other.error().message ==
        "weights version 2 is an adapter of other base weights than those of the model here");
  const auto whole = decoder.load(tiny.base);
  REQUIRE_FALSE(whole.ok());
  CHECK(whole.error().message.find("model.embed_tokens.weight") != std::string::npos);
  CHECK(at::equal(logits_of(decoder, tiny.packed), before));
}
