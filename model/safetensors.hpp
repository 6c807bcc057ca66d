// Files in the safetensors format (https://huggingface.co/docs/safetensors): a little-endian u64 n,
// n bytes of JSON header {"name": {"dtype", "shape", "data_offsets": [begin, end]}, ...,
// "__metadata__": {text: text}}, then the tensors' bytes without gaps.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "messages/result.hpp"

namespace tracewise {

// Row-major. `bytes` belongs to somebody else and may start at any address when it was read.
struct TensorView {
  std::string name;
  std::string dtype;  // "F32", "BF16", "F64", "I64", "U64", ... as in the format
  std::vector<int64_t> shape;
  std::span<const std::byte> bytes;
};

using SafetensorsMetadata = std::map<std::string, std::string>;

// A file mapped into memory. Immutable; any thread may read it. Its views die with it.
class SafetensorsFile {
 public:
  // kIo if it cannot be opened; kCorrupt, with the place, if sizes, offsets or the header
  // contradict each other; kUnsupported for a dtype that the format does not name.
  static Result<SafetensorsFile> open(const std::filesystem::path& file);

  SafetensorsFile(SafetensorsFile&&) noexcept;
  SafetensorsFile& operator=(SafetensorsFile&&) noexcept;
  ~SafetensorsFile();

  const std::vector<TensorView>& tensors() const { return tensors_; }  // in file order
  const TensorView* find(std::string_view name) const;                 // nullptr: none
  const SafetensorsMetadata& metadata() const { return metadata_; }

 private:
  class Mapping;
  SafetensorsFile();

  std::unique_ptr<Mapping> mapping_;
  std::vector<TensorView> tensors_;
  std::map<std::string, size_t, std::less<>> index_;
  SafetensorsMetadata metadata_;
};

// Bytes of one element, or 0 if the format has no such dtype.
uint64_t safetensors_item_bytes(std::string_view dtype);

// Writes the tensors in the given order, beside `file` and then renamed over it. Names must differ
// and the bytes must fit dtype and shape.
Result<void> write_safetensors(const std::filesystem::path& file,
                               std::span<const TensorView> tensors,
                               const SafetensorsMetadata& metadata);

}  // namespace tracewise
