// The tensors of a Hugging Face folder: model.safetensors, or the files that
// model.safetensors.index.json names.
#pragma once

#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "messages/result.hpp"
#include "model/safetensors.hpp"

namespace tracewise {

// Mapped into memory. Immutable; any thread may read it. Its views die with it.
class StoredTensors {
 public:
  // kIo, kCorrupt and kUnsupported as SafetensorsFile; kBadInput where the index does not fit the
  // files.
  static Result<StoredTensors> open(const std::filesystem::path& dir);

  struct Entry {
    const TensorView* tensor = nullptr;
    const std::string* file = nullptr;  // its path, for errors
  };
  const Entry* find(std::string_view name) const;  // nullptr: none
  const std::map<std::string, Entry, std::less<>>& all() const { return entries_; }

  const std::string& place() const { return place_; }  // the file, or the index, for errors

 private:
  Result<void> add_file(const std::filesystem::path& path);

  struct File {
    std::string path;
    SafetensorsFile content;
  };
  std::string place_;
  std::vector<std::unique_ptr<const File>> files_;
  std::map<std::string, Entry, std::less<>> entries_;
};

// Writes the tensors as model.safetensors, or, where they have more than `max_shard_bytes` bytes,
// as model-00001-of-0000N.safetensors and so on with their index: in the given order, each file as
// full as it may be. A tensor that is larger than that has a file of its own.
Result<void> write_tensors(const std::filesystem::path& dir, std::span<const TensorView> tensors,
                           uint64_t max_shard_bytes);

}  // namespace tracewise
