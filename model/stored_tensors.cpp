#include "model/stored_tensors.hpp"

#include <cstdio>
#include <nlohmann/json.hpp>
#include <set>

#include "model/file_io.hpp"

namespace tracewise {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kSingle = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";
constexpr uint64_t kMaxIndexBytes = uint64_t{256} << 20;

// {tensor: file} of an index.
Result<std::map<std::string, std::string>> read_index(const fs::path& path) {
  TW_ASSIGN(const std::string text, read_file(path, kMaxIndexBytes));
  const auto wrong = [&](const std::string& what) {
    return bad_input(path.string() + ": " + what);
  };
  const json object = json::parse(text, nullptr, false);
  if (!object.is_object() || !object.contains("weight_map") || !object["weight_map"].is_object() ||
      object["weight_map"].empty()) {
    return wrong("no JSON object with a \"weight_map\" of at least one tensor");
  }
  std::map<std::string, std::string> files;
  for (const auto& [name, file] : object["weight_map"].items()) {
    const std::string plain = file.is_string() ? file.get<std::string>() : "";
    // A file beside the index: no other folder's.
    if (plain.empty() || fs::path(plain).filename() != plain || plain == "." || plain == "..")
      return wrong("tensor \"" + name + "\" is said to be in " + file.dump() + ", no file's name");
    files[name] = plain;
  }
  return files;
}

std::string shard_name(size_t number, size_t count) {
  char name[64];
  std::snprintf(name, sizeof name, "model-%05zu-of-%05zu.safetensors", number, count);
  return name;
}

}  // namespace

Result<void> StoredTensors::add_file(const fs::path& path) {
  TW_ASSIGN(SafetensorsFile content, SafetensorsFile::open(path));
  files_.push_back(std::make_unique<const File>(File{path.string(), std::move(content)}));
  return {};
}

Result<StoredTensors> StoredTensors::open(const fs::path& dir) {
  StoredTensors stored;
  if (is_present(dir / kSingle) || !is_present(dir / kIndex)) {
    for (const char* other : {"pytorch_model.bin", "pytorch_model.bin.index.json"}) {
      if (!is_present(dir / kSingle) && is_present(dir / other))
        return unsupported((dir / other).string() + " is not supported; " + kSingle + " is");
    }
    stored.place_ = (dir / kSingle).string();
    TW_TRY(stored.add_file(dir / kSingle));
    const File& file = *stored.files_[0];
    for (const TensorView& tensor : file.content.tensors())
      stored.entries_[tensor.name] = {&tensor, &file.path};
    return stored;
  }
  stored.place_ = (dir / kIndex).string();
  TW_ASSIGN(const auto index, read_index(dir / kIndex));
  std::map<std::string, const File*> opened;
  for (const auto& [name, file] : index) {
    if (!opened.contains(file)) {
      TW_TRY(stored.add_file(dir / file));
      opened[file] = stored.files_.back().get();
    }
    const TensorView* tensor = opened[file]->content.find(name);
    if (tensor == nullptr)
      return bad_input(stored.place_ + ": tensor \"" + name + "\" is not in " + file);
    stored.entries_[name] = {tensor, &opened[file]->path};
  }
  return stored;
}

const StoredTensors::Entry* StoredTensors::find(std::string_view name) const {
  const auto found = entries_.find(name);
  return found == entries_.end() ? nullptr : &found->second;
}

Result<void> write_tensors(const fs::path& dir, std::span<const TensorView> tensors,
                           uint64_t max_shard_bytes) {
  const SafetensorsMetadata format = {{"format", "pt"}};  // transformers asks for it
  std::vector<std::vector<TensorView>> shards(1);
  uint64_t shard_bytes = 0, total_bytes = 0;
  for (const TensorView& tensor : tensors) {
    if (!shards.back().empty() && shard_bytes + tensor.bytes.size() > max_shard_bytes) {
      shards.emplace_back();
      shard_bytes = 0;
    }
    shard_bytes += tensor.bytes.size();
    total_bytes += tensor.bytes.size();
    shards.back().push_back(tensor);
  }
  if (shards.size() == 1) return write_safetensors(dir / kSingle, tensors, format);
  json map = json::object();
  for (size_t i = 0; i < shards.size(); ++i) {
    const std::string name = shard_name(i + 1, shards.size());
    for (const TensorView& tensor : shards[i]) map[tensor.name] = name;
    TW_TRY(write_safetensors(dir / name, shards[i], format));
  }
  const json index = {{"metadata", {{"total_size", total_bytes}}}, {"weight_map", std::move(map)}};
  return write_file(dir / kIndex, index.dump(2) + "\n");
}

}  // namespace tracewise
