// Adapters in PEFT's format: what is read, what is refused, what is written.
#include <catch2/catch.hpp>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>

#include "model/adapter.hpp"
#include "model/adapter_folder.hpp"
#include "model/model_folder.hpp"
#include "model/safetensors.hpp"
#include "tests/temp_dir.hpp"

using namespace tracewise;
using nlohmann::json;
namespace fs = std::filesystem;

namespace {

const fs::path kData = TRACEWISE_TEST_DATA;

ModelFolder model(const std::string& name) {
  auto folder = load_model_weights(kData / "models" / name);
  REQUIRE(folder.ok());
  return std::move(*folder);
}

// A copy of the adapter over "llama" (all modules, rank 3) that a test may damage.
struct Copy {
  TempDir temp;
  fs::path dir = temp / "adapter";

  Copy() { fs::copy(kData / "adapters/llama_all", dir); }

  void change(const std::function<void(json&)>& edit) const {
    json object = json::parse(std::ifstream(dir / "adapter_config.json"));
    edit(object);
    std::ofstream(dir / "adapter_config.json") << object.dump();
  }
  void change_tensors(const std::function<void(std::vector<TensorView>&)>& edit) const {
    const auto file = SafetensorsFile::open(dir / "adapter_model.safetensors");
    REQUIRE(file.ok());
    std::vector<TensorView> tensors = file->tensors();
    edit(tensors);
    REQUIRE(write_safetensors(dir / "new", tensors, {}).ok());
    fs::rename(dir / "new", dir / "adapter_model.safetensors");
  }
  Error error(const std::string& base = "llama") const {
    ModelFolder folder = model(base);
    const auto loaded = load_adapter(dir, folder.weights, folder.config);
    REQUIRE_FALSE(loaded.ok());
    CHECK(folder.config.adapter.rank == 0);
    return loaded.error();
  }
};

constexpr const char* kFirst = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";

}  // namespace

TEST_CASE("an adapter's config is read as PEFT wrote it") {
  const auto all = read_adapter_config(kData / "adapters/llama_all");
  REQUIRE(all.ok());
  CHECK(*all == AdapterConfig{3, 4.5, false, adapter_modules()});
  CHECK(all->scale() == 1.5);
  const auto some = read_adapter_config(kData / "adapters/qwen2_some");
  REQUIRE(some.ok());
  CHECK(*some == AdapterConfig{4, 3, true, {"q_proj", "v_proj", "down_proj"}});
  CHECK(some->scale() == 1.5);  // 3 / sqrt(4)
}

TEST_CASE("an adapter that is saved and read again is the same, and PEFT's keys are in its config",
          "[save_adapter]") {
  for (const char* name : {"llama_all", "qwen2_some", "qwen3_attention"}) {
    INFO(name);
    ModelFolder base = model(std::string(name).substr(0, std::string(name).find('_')));
    const auto loaded = load_adapter(kData / "adapters" / name, base.weights, base.config);
    REQUIRE(loaded.ok());
    const TempDir temp;
    // Where to save, for scripts/check_peft.
    const char* saves = std::getenv("TRACEWISE_SAVE_DIR");
    const fs::path out = saves ? fs::path(saves) / name : temp / "out";
    REQUIRE(check_adapter_target(out).ok());
    REQUIRE(save_adapter(out, base.config, **loaded, "somewhere/" + std::string(name)).ok());
    ModelFolder again = model(std::string(name).substr(0, std::string(name).find('_')));
    const auto reread = load_adapter(out, again.weights, again.config);
    REQUIRE(reread.ok());
    CHECK(again.config == base.config);
    CHECK((*reread)->manifest() == (*loaded)->manifest());
    const json config = json::parse(std::ifstream(out / "adapter_config.json"));
    CHECK(config["peft_type"] == "LORA");
    CHECK(config["base_model_name_or_path"] == "somewhere/" + std::string(name));
    CHECK(config["lora_dropout"] == 0.0);
    // What PEFT stored, byte for byte.
    const auto ours = SafetensorsFile::open(out / "adapter_model.safetensors");
    const auto theirs =
        SafetensorsFile::open(kData / "adapters" / name / "adapter_model.safetensors");
    REQUIRE(ours.ok());
    REQUIRE(theirs.ok());
    CHECK(ours->tensors().size() == theirs->tensors().size());
    for (const TensorView& tensor : theirs->tensors()) {
      const TensorView* mine = ours->find(tensor.name);
      REQUIRE(mine != nullptr);
      CHECK(mine->shape == tensor.shape);
      CHECK(std::memcmp(mine->bytes.data(), tensor.bytes.data(), tensor.bytes.size()) == 0);
    }
  }
}

TEST_CASE("an adapter stored in half precision is read as fp32") {
  const Copy copy;
  std::vector<uint16_t> ones(3 * 32, 0x3f80);  // 1 in bf16
  copy.change_tensors([&](auto& tensors) {
    for (TensorView& t : tensors) {
      if (t.name != kFirst) continue;
      t.dtype = "BF16";
      t.bytes = std::as_bytes(std::span(ones));
    }
  });
  ModelFolder base = model("llama");
  const auto loaded = load_adapter(copy.dir, base.weights, base.config);
  REQUIRE(loaded.ok());
  CHECK((*loaded)->manifest().dtype == "F32");
  const auto* x = reinterpret_cast<const float*>((*loaded)->bytes().data());
  CHECK(x[0] == 1);
  CHECK(x[95] == 1);
}

TEST_CASE("what an adapter asks for beyond plain LoRA is refused by its name") {
  const std::vector<std::pair<json, std::string>> cases = {
      {{{"peft_type", "IA3"}}, "peft_type \"IA3\""},
      {{{"use_dora", true}}, "use_dora true"},
      {{{"bias", "all"}}, "bias \"all\""},
      {{{"lora_bias", true}}, "lora_bias true"},
      {{{"fan_in_fan_out", true}}, "fan_in_fan_out true"},
      {{{"modules_to_save", {"lm_head"}}}, "modules_to_save [\"lm_head\"]"},
      {{{"rank_pattern", {{"q_proj", 8}}}}, "rank_pattern {\"q_proj\":8}"},
      {{{"alpha_pattern", {{"q_proj", 8}}}}, "alpha_pattern {\"q_proj\":8}"},
      {{{"layers_to_transform", {0}}}, "layers_to_transform [0]"},
      {{{"trainable_token_indices", {3}}}, "trainable_token_indices [3]"},
      {{{"init_lora_weights", "pissa_niter_4"}}, "init_lora_weights \"pissa_niter_4\""},
      {{{"made_up_later", 1}}, "made_up_later 1"},
      {{{"target_modules", "q_proj|v_proj"}}, "target_modules \"q_proj|v_proj\""},
      {{{"target_modules", {"q_proj", "lm_head"}}}, "target module \"lm_head\""},
  };
  for (const auto& [changes, named] : cases) {
    const Copy copy;
    copy.change([&](json& object) { object.update(changes); });
    const Error error = copy.error();
    CHECK(error.error_class == ErrorClass::kUnsupported);
    CHECK_THAT(error.message, Catch::Contains(named) && Catch::Contains("is not supported") &&
                                  Catch::Contains("adapter_config.json"));
  }
}

TEST_CASE("an adapter's fields that are missing or no numbers are named") {
  const Copy copy;
  const std::vector<std::pair<json, std::string>> cases = {
      {{{"r", nullptr}}, "\"r\" is missing"},
      {{{"r", 0}}, "\"r\" is 0"},
      {{{"lora_alpha", -1}}, "\"lora_alpha\" is -1"},
      {{{"use_rslora", "yes"}}, "\"use_rslora\""},
      {{{"target_modules", nullptr}}, "\"target_modules\" is missing"},
      {{{"target_modules", json::array()}}, "no target"},
  };
  for (const auto& [changes, named] : cases) {
    const Copy damaged;
    damaged.change([&](json& object) { object.update(changes); });
    CHECK_THAT(damaged.error().message, Catch::Contains(named));
  }
  std::ofstream(copy.dir / "adapter_config.json") << "[]";
  CHECK_THAT(copy.error().message, Catch::Contains("not a JSON object"));
  fs::remove(copy.dir / "adapter_config.json");
  CHECK(copy.error().error_class == ErrorClass::kIo);
}

TEST_CASE("an adapter for another base is refused by the tensor that does not fit") {
  const Copy copy;
  // qwen3 has heads of 12, llama of 8: q_proj's B is [32, 3], not [48, 3].
  CHECK_THAT(copy.error("qwen3").message,
             Catch::Contains("layers.0.self_attn.q_proj.lora_B.weight") &&
                 Catch::Contains("[32,3]") && Catch::Contains("[48,3]") &&
                 Catch::Contains("another model's"));
  SECTION("of fewer layers") {
    copy.change_tensors([](auto& tensors) {
      std::erase_if(tensors, [](const TensorView& t) {
        return t.name.find("layers.1.") != std::string::npos;
      });
    });
    CHECK_THAT(copy.error().message, Catch::Contains("layers.1.self_attn.q_proj.lora_A.weight") &&
                                         Catch::Contains("is missing") &&
                                         Catch::Contains("2 layers"));
  }
  SECTION("of more layers") {
    copy.change_tensors([](auto& tensors) {
      tensors.push_back(tensors[0]);
      tensors.back().name = "base_model.model.model.layers.2.self_attn.q_proj.lora_A.weight";
    });
    CHECK_THAT(copy.error().message, Catch::Contains("layers.2.self_attn.q_proj") &&
                                         Catch::Contains("base with 2 layers"));
  }
  SECTION("of another rank than its config says") {
    copy.change([](json& object) { object["r"] = 4; });
    CHECK_THAT(copy.error().message, Catch::Contains("[3,32]") && Catch::Contains("[4,32]"));
  }
}

TEST_CASE("an adapter's damaged files are named") {
  const Copy copy;
  SECTION("a NaN") {
    std::vector<float> bad(3 * 32, 0.5f);
    bad[7] = std::numeric_limits<float>::quiet_NaN();
    copy.change_tensors([&](auto& tensors) {
      for (TensorView& t : tensors)
        if (t.name == kFirst) t.bytes = std::as_bytes(std::span(bad));
    });
    CHECK(copy.error().error_class == ErrorClass::kCorrupt);
    CHECK_THAT(copy.error().message, Catch::Contains(kFirst) && Catch::Contains("at element 7"));
  }
  SECTION("no tensors") {
    fs::remove(copy.dir / "adapter_model.safetensors");
    CHECK(copy.error().error_class == ErrorClass::kIo);
    std::ofstream(copy.dir / "adapter_model.bin") << "x";
    CHECK_THAT(copy.error().message, Catch::Contains("adapter_model.bin is not supported"));
  }
  SECTION("a folder that holds something else is not replaced") {
    const TempDir other;
    other.put("thesis.txt", "x");
    const auto refused = check_adapter_target(other.path());
    REQUIRE_FALSE(refused.ok());
    CHECK_THAT(refused.error().message, Catch::Contains("is not an adapter's folder"));
    CHECK(check_adapter_target(copy.dir).ok());
  }
}
