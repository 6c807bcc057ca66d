#include "model/model_folder.hpp"

#include <catch2/catch.hpp>
#include <cstdlib>
#include <cstring>
#include <nlohmann/json.hpp>

#include "model/safetensors.hpp"
#include "tests/file_size_limit.hpp"
#include "tests/temp_dir.hpp"

namespace tracewise {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

const fs::path kModels = TRACEWISE_TEST_DATA "/models";

std::unique_ptr<Tokenizer> letters() {
  return std::move(*make_symbol_tokenizer({"<pad>", "<bos>", "<eos>", "a", "b"}, {0, 1, 2}, 1));
}

// A copy of a golden folder with a tokenizer, to be damaged.
fs::path copy_of(const TempDir& dir, const std::string& name) {
  fs::copy(kModels / name, dir / name);
  dir.put(name + "/tokenizer.json", letters()->to_json());
  return dir / name;
}

// Rewrites the folder's tensors after `change`.
void rewrite(const fs::path& folder, const std::function<void(std::vector<TensorView>&)>& change) {
  auto file = SafetensorsFile::open(folder / "model.safetensors");
  std::vector<TensorView> tensors = file->tensors();
  change(tensors);
  REQUIRE(write_safetensors(folder / "model.safetensors", tensors, {}).ok());
}

Error load_error(const fs::path& folder) {
  const auto loaded = load_model_folder(folder);
  REQUIRE_FALSE(loaded.ok());
  return loaded.error();
}

TEST_CASE("every golden folder is read with all its tensors in place") {
  for (const char* name : {"llama", "llama_tied", "qwen2", "qwen3"}) {
    INFO(name);
    const auto folder = load_model_weights(kModels / name);
    REQUIRE(folder.ok());
    CHECK(folder->tokenizer == nullptr);
    const Weights& weights = *folder->weights;
    const WeightsManifest& manifest = weights.manifest();
    CHECK(folder->config.dtype == (std::string(name) == "llama_tied" ? "BF16" : "F32"));
    CHECK(manifest.dtype == folder->config.dtype);
    CHECK(manifest.version == 0);
    CHECK(manifest.checksum == weights_checksum(weights.bytes()));
    CHECK(manifest.tensors == weights_layout(folder->config).tensors);
    const auto file = SafetensorsFile::open(kModels / name / "model.safetensors");
    REQUIRE(file->tensors().size() == manifest.tensors.size());
    for (const TensorEntry& entry : manifest.tensors) {
      const TensorView* tensor = file->find(entry.name);
      REQUIRE(tensor != nullptr);
      CHECK(std::memcmp(weights.bytes().data() + entry.offset, tensor->bytes.data(), entry.bytes) ==
            0);
    }
  }
}

TEST_CASE("a saved folder comes back equal, also over an older one") {
  TempDir dir;
  const auto llama = load_model_weights(kModels / "llama");
  const auto tied = load_model_weights(kModels / "llama_tied");
  const auto tokenizer = letters();
  const fs::path target = dir / "runs/model";
  REQUIRE(save_model_folder(target, llama->config, *tokenizer, *llama->weights).ok());
  REQUIRE(save_model_folder(target, tied->config, *tokenizer, *tied->weights).ok());
  const auto loaded = load_model_folder(target);
  REQUIRE(loaded.ok());
  CHECK(loaded->config == tied->config);
  CHECK(loaded->weights->manifest() == tied->weights->manifest());
  CHECK(loaded->tokenizer->to_json() == tokenizer->to_json());
  const auto settings = json::parse(slurp(target / "tokenizer_config.json"));
  CHECK(settings["bos_token"] == "<bos>");
  CHECK(settings["eos_token"] == "<eos>");
  CHECK(settings["pad_token"] == "<pad>");
  CHECK(std::distance(fs::directory_iterator(dir / "runs"), {}) == 1);  // nothing left beside it
}

TEST_CASE("a full disk leaves the older folder as it was and nothing beside it") {
  TempDir dir;
  const auto llama = load_model_weights(kModels / "llama");
  const auto qwen = load_model_weights(kModels / "qwen3");
  REQUIRE(save_model_folder(dir / "m", llama->config, *letters(), *llama->weights).ok());
  const auto saved = [&] {
    const FileSizeLimit full(10'000);
    return save_model_folder(dir / "m", qwen->config, *letters(), *qwen->weights);
  }();
  REQUIRE_FALSE(saved.ok());
  CHECK(saved.error().error_class == ErrorClass::kIo);
  CHECK(load_model_folder(dir / "m")->weights->manifest() == llama->weights->manifest());
  CHECK(std::distance(fs::directory_iterator(dir.path()), {}) == 1);
}

TEST_CASE("a folder of something else is never replaced") {
  TempDir dir;
  const auto llama = load_model_weights(kModels / "llama");
  fs::create_directory(dir / "photos");
  dir.put("photos/cat.jpg", "meow");
  dir.put("file", "text");
  for (const char* name : {"photos", "file"}) {
    const auto saved = save_model_folder(dir / name, llama->config, *letters(), *llama->weights);
    REQUIRE_FALSE(saved.ok());
    CHECK(saved.error().error_class == ErrorClass::kBadInput);
  }
  CHECK(slurp(dir / "photos/cat.jpg") == "meow");
  fs::create_directory(dir / "empty");
  CHECK(save_model_folder(dir / "empty", llama->config, *letters(), *llama->weights).ok());
}

TEST_CASE("a missing, extra or misshapen tensor is named") {
  TempDir dir;
  const fs::path folder = copy_of(dir, "llama");
  SECTION("missing") {
    rewrite(folder, [](auto& tensors) {
      std::erase_if(tensors, [](const auto& t) { return t.name == "model.norm.weight"; });
    });
    CHECK(load_error(folder).message ==
          (folder / "model.safetensors").string() +
              ": tensor \"model.norm.weight\" of shape [32] is missing");
  }
  SECTION("extra") {
    rewrite(folder, [](auto& tensors) {
      tensors.push_back(tensors[0]);
      tensors.back().name = "model.layers.2.mlp.up_proj.weight";
    });
    CHECK_THAT(load_error(folder).message,
               Catch::Contains("\"model.layers.2.mlp.up_proj.weight\" belongs to no parameter"));
  }
  SECTION("shape") {
    rewrite(folder, [](auto& tensors) {
      for (auto& t : tensors) {
        if (t.name == "lm_head.weight") t.shape = {32, 24};
      }
    });
    CHECK_THAT(
        load_error(folder).message,
        Catch::Contains("\"lm_head.weight\" has shape [32,24], but the config needs [24,32]"));
  }
  SECTION("fp16") {
    rewrite(folder, [](auto& tensors) {
      for (auto& t : tensors) {
        if (t.name == "model.norm.weight") t.dtype = "F16", t.bytes = t.bytes.first(64);
      }
    });
    CHECK(load_error(folder).error_class == ErrorClass::kUnsupported);
    CHECK_THAT(load_error(folder).message, Catch::Contains("dtype F16"));
  }
  SECTION("mixed") {
    rewrite(folder, [](auto& tensors) {
      for (auto& t : tensors) {
        if (t.name == "model.norm.weight") t.dtype = "BF16", t.bytes = t.bytes.first(64);
      }
    });
    CHECK(load_error(folder).error_class == ErrorClass::kUnsupported);
    CHECK_THAT(load_error(folder).message, Catch::Contains("mixed dtypes"));
  }
}

TEST_CASE("a stored head of a tied model must equal the embedding") {
  TempDir dir;
  const fs::path folder = copy_of(dir, "llama_tied");
  std::string other;
  const auto add_head = [&](bool same) {
    rewrite(folder, [&](auto& tensors) {
      for (const auto& t : std::vector(tensors)) {
        if (t.name != "model.embed_tokens.weight") continue;
        tensors.push_back(t);
        tensors.back().name = "lm_head.weight";
        if (same) return;
        other.assign(reinterpret_cast<const char*>(t.bytes.data()), t.bytes.size());
        other[0] ^= 1;
        tensors.back().bytes = std::as_bytes(std::span(other));
      }
    });
  };
  SECTION("equal") {
    add_head(true);
    CHECK(load_model_folder(folder).ok());
  }
  SECTION("other") {
    add_head(false);
    CHECK_THAT(load_error(folder).message, Catch::Contains("tie_word_embeddings"));
  }
}

TEST_CASE("missing and truncated files of a folder are named") {
  TempDir dir;
  const fs::path folder = copy_of(dir, "qwen2");
  SECTION("no folder") {
    CHECK(load_error(dir / "none").message == (dir / "none").string() + " is not a folder");
  }
  SECTION("no config") {
    fs::remove(folder / "config.json");
    CHECK(load_error(folder).error_class == ErrorClass::kIo);
    CHECK_THAT(load_error(folder).message, Catch::Contains("config.json"));
  }
  SECTION("no weights") {
    fs::remove(folder / "model.safetensors");
    CHECK_THAT(load_error(folder).message, Catch::Contains("model.safetensors"));
    dir.put("qwen2/model.safetensors.index.json", "{}");
    CHECK(load_error(folder).error_class == ErrorClass::kUnsupported);
    CHECK_THAT(load_error(folder).message, Catch::Contains("model.safetensors.index.json"));
  }
  SECTION("no tokenizer") {
    fs::remove(folder / "tokenizer.json");
    CHECK_THAT(load_error(folder).message, Catch::Contains("tokenizer.json"));
    CHECK(load_model_weights(folder).ok());
  }
  SECTION("half the weights") {
    fs::resize_file(folder / "model.safetensors", fs::file_size(folder / "model.safetensors") / 2);
    CHECK(load_error(folder).error_class == ErrorClass::kCorrupt);
  }
  SECTION("config of another size") {
    auto config = json::parse(slurp(folder / "config.json"));
    config["num_hidden_layers"] = 3;
    dir.put("qwen2/config.json", config.dump());
    CHECK_THAT(load_error(folder).message,
               Catch::Contains("\"model.layers.2.self_attn.q_proj.weight\" of shape [32,32] is "));
  }
}

TEST_CASE("a tokenizer larger than the model's vocabulary is refused") {
  TempDir dir;
  const fs::path folder = copy_of(dir, "llama");
  std::vector<std::string> symbols;
  for (int i = 0; i < 25; ++i) symbols.push_back("s" + std::to_string(i));
  dir.put("llama/tokenizer.json", (*make_symbol_tokenizer(symbols, {}, -1))->to_json());
  CHECK_THAT(load_error(folder).message, Catch::Contains("has 25 tokens"));
}

TEST_CASE("the end tokens of generation_config.json are the ones that count") {
  TempDir dir;
  const fs::path folder = copy_of(dir, "llama");
  dir.put("llama/generation_config.json", R"({"eos_token_id": [2, 5]})");
  CHECK(load_model_folder(folder)->config.eos_tokens == std::vector<int32_t>{2, 5});
  dir.put("llama/generation_config.json", R"({"eos_token_id": 24})");
  CHECK_THAT(load_error(folder).message, Catch::Contains("holds 24"));
}

// Hidden: scripts/check_transformers compares what it writes.
TEST_CASE("golden models saved again for transformers", "[.][save]") {
  const char* target = std::getenv("TRACEWISE_SAVE_DIR");
  REQUIRE(target != nullptr);
  const fs::path data = TRACEWISE_TEST_DATA;
  const auto tokenizer = load_tokenizer(data / "tokenizer/tokenizer.json");
  for (const char* name : {"llama", "llama_tied", "qwen2", "qwen3"}) {
    const auto model = load_model_weights(kModels / name);
    const fs::path folder = fs::path(target) / name;
    REQUIRE(save_model_folder(folder, model->config, **tokenizer, *model->weights).ok());
    fs::copy(kModels / name / "golden.json", folder);
    auto texts = json::array();
    for (const json& row : json::parse(slurp(data / "tokenizer/golden.json"))) {
      const auto text = row["text"].get<std::string>();
      texts.push_back({{"text", text}, {"ids", *(*tokenizer)->encode(text, true)}});
    }
    std::ofstream(folder / "texts.json") << texts;
  }
}

}  // namespace
}  // namespace tracewise
