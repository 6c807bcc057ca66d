#include "model/safetensors.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "model/file_io.hpp"

namespace tracewise {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

static_assert(std::endian::native == std::endian::little, "the format is little-endian");

constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the limit of the reference implementation

// Product of the sizes times the item's bytes; nullopt if it leaves 63 bits.
std::optional<uint64_t> tensor_bytes(const std::vector<int64_t>& shape, uint64_t item_bytes) {
  uint64_t bytes = item_bytes;
  for (const int64_t size : shape) {
    if (size < 0 || __builtin_mul_overflow(bytes, static_cast<uint64_t>(size), &bytes) ||
        bytes > uint64_t{INT64_MAX}) {
      return std::nullopt;
    }
  }
  return bytes;
}

// Parses the header and refuses a name that comes twice, which a JSON library would pass over.
std::optional<json> parse_header(std::string_view text, std::string& twice) {
  std::vector<std::set<std::string>> seen;
  const auto watch = [&](int, json::parse_event_t event, json& value) {
    if (event == json::parse_event_t::object_start) seen.emplace_back();
    if (event == json::parse_event_t::object_end) seen.pop_back();
    if (event == json::parse_event_t::key && !seen.back().insert(value.get<std::string>()).second) {
      twice = value.get<std::string>();
    }
    return true;
  };
  json header = json::parse(text, watch, false);
  if (header.is_discarded() || !header.is_object()) return std::nullopt;
  return header;
}

struct Extent {
  uint64_t begin, end;
};

// One entry of the header, checked but for its place among the others.
Result<Extent> read_entry(const json& entry, const std::string& place, TensorView& tensor) {
  const auto wrong = [&](const std::string& what) { return corrupt(place + " " + what); };
  if (!entry.is_object() || entry.size() != 3 || !entry.contains("dtype") ||
      !entry.contains("shape") || !entry.contains("data_offsets")) {
    return wrong("does not have exactly dtype, shape and data_offsets");
  }
  if (!entry["dtype"].is_string()) return wrong("has a dtype that is no text");
  tensor.dtype = entry["dtype"].get<std::string>();
  const uint64_t item_bytes = safetensors_item_bytes(tensor.dtype);
  if (item_bytes == 0) return unsupported(place + " has the unknown dtype " + tensor.dtype);
  const json& shape = entry["shape"];
  const json& offsets = entry["data_offsets"];
  if (!shape.is_array() || !offsets.is_array() || offsets.size() != 2) {
    return wrong("has a shape or data_offsets that is no list of sizes");
  }
  for (const json* list : {&shape, &offsets}) {
    for (const json& number : *list) {
      if (!number.is_number_unsigned() || number.get<uint64_t>() > uint64_t{INT64_MAX}) {
        return wrong("has the size or offset " + number.dump() + ", which is no whole number");
      }
    }
  }
  tensor.shape = shape.get<std::vector<int64_t>>();
  const Extent extent{offsets[0].get<uint64_t>(), offsets[1].get<uint64_t>()};
  const auto bytes = tensor_bytes(tensor.shape, item_bytes);
  if (!bytes || extent.end < extent.begin || extent.end - extent.begin != *bytes) {
    return wrong("has data_offsets " + offsets.dump() + " that do not fit dtype " + tensor.dtype +
                 " and shape " + shape.dump());
  }
  return extent;
}

// Gives every tensor its bytes; together they must fill `data` without gap or overlap.
Result<std::vector<TensorView>> lay_out(std::vector<std::pair<Extent, TensorView>> found,
                                        std::span<const std::byte> data, const std::string& place) {
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) {
    return std::pair(a.first.begin, a.first.end) < std::pair(b.first.begin, b.first.end);
  });
  std::vector<TensorView> tensors;
  uint64_t end = 0;
  for (auto& [extent, tensor] : found) {
    if (extent.begin != end) {
      return corrupt(place + ": tensor \"" + tensor.name + "\" starts at byte " +
                     std::to_string(extent.begin) + " of the data, but the one before it ends at " +
                     std::to_string(end));
    }
    end = extent.end;
    if (end > data.size()) {
      return corrupt(place + ": truncated: tensor \"" + tensor.name + "\" ends at byte " +
                     std::to_string(end) + " of the data, but there are " +
                     std::to_string(data.size()));
    }
    tensor.bytes = data.subspan(extent.begin, end - extent.begin);
    tensors.push_back(std::move(tensor));
  }
  if (end != data.size()) {
    return corrupt(place + ": " + std::to_string(data.size() - end) +
                   " bytes after the last tensor");
  }
  return tensors;
}

Result<SafetensorsMetadata> read_metadata(const json& object, const std::string& place) {
  SafetensorsMetadata metadata;
  if (!object.is_object()) return corrupt(place + ": __metadata__ is no object");
  for (const auto& [key, value] : object.items()) {
    if (!value.is_string()) return corrupt(place + ": __metadata__ \"" + key + "\" is no text");
    metadata[key] = value.get<std::string>();
  }
  return metadata;
}

}  // namespace

class SafetensorsFile::Mapping {
 public:
  static Result<std::unique_ptr<Mapping>> open(const fs::path& path) {
    const auto refused = [&](const char* what) {
      return io_error(std::string("cannot ") + what + " " + path.string() + ": " +
                      std::strerror(errno));
    };
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return refused("open");
    auto mapping = std::unique_ptr<Mapping>(new Mapping);
    struct stat status {};
    if (::fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) {
      ::close(fd);
      return bad_input(path.string() + " is not a file");
    }
    mapping->size_ = static_cast<size_t>(status.st_size);
    if (mapping->size_ > 0) {
      void* start = ::mmap(nullptr, mapping->size_, PROT_READ, MAP_PRIVATE, fd, 0);
      if (start == MAP_FAILED) {
        ::close(fd);
        mapping->size_ = 0;
        return refused("map");
      }
      mapping->start_ = static_cast<const std::byte*>(start);
    }
    ::close(fd);
    return mapping;
  }
  ~Mapping() {
    if (start_ != nullptr) ::munmap(const_cast<std::byte*>(start_), size_);
  }
  std::span<const std::byte> bytes() const { return {start_, size_}; }

 private:
  const std::byte* start_ = nullptr;
  size_t size_ = 0;
};

SafetensorsFile::SafetensorsFile() = default;
SafetensorsFile::SafetensorsFile(SafetensorsFile&&) noexcept = default;
SafetensorsFile& SafetensorsFile::operator=(SafetensorsFile&&) noexcept = default;
SafetensorsFile::~SafetensorsFile() = default;

Result<SafetensorsFile> SafetensorsFile::open(const fs::path& path) {
  SafetensorsFile file;
  TW_ASSIGN(file.mapping_, Mapping::open(path));
  const std::string place = path.string();
  const auto bytes = file.mapping_->bytes();
  uint64_t header_bytes = 0;
  if (bytes.size() < 8) {
    return corrupt(place + ": truncated: " + std::to_string(bytes.size()) +
                   " bytes, not even the 8 of the header's length");
  }
  std::memcpy(&header_bytes, bytes.data(), 8);
  if (header_bytes > kMaxHeaderBytes || header_bytes > bytes.size() - 8) {
    return corrupt(place + ": a header of " + std::to_string(header_bytes) +
                   " bytes does not fit the file of " + std::to_string(bytes.size()) + " bytes");
  }
  std::string twice;
  const auto header = parse_header(
      {reinterpret_cast<const char*>(bytes.data()) + 8, static_cast<size_t>(header_bytes)}, twice);
  if (!header) return corrupt(place + ": the header is not a JSON object");
  if (!twice.empty()) return corrupt(place + ": the header has \"" + twice + "\" twice");
  std::vector<std::pair<Extent, TensorView>> found;
  for (const auto& [name, entry] : header->items()) {
    if (name == "__metadata__") {
      TW_ASSIGN(file.metadata_, read_metadata(entry, place));
      continue;
    }
    TensorView tensor{name, {}, {}, {}};
    TW_ASSIGN(const Extent extent, read_entry(entry, place + ": tensor \"" + name + "\"", tensor));
    found.emplace_back(extent, std::move(tensor));
  }
  TW_ASSIGN(file.tensors_, lay_out(std::move(found), bytes.subspan(8 + header_bytes), place));
  for (size_t i = 0; i < file.tensors_.size(); ++i) file.index_[file.tensors_[i].name] = i;
  return file;
}

const TensorView* SafetensorsFile::find(std::string_view name) const {
  const auto it = index_.find(name);
  return it == index_.end() ? nullptr : &tensors_[it->second];
}

uint64_t safetensors_item_bytes(std::string_view dtype) {
  static const std::map<std::string_view, uint64_t> kSizes = {
      {"F64", 8},  {"I64", 8},  {"U64", 8}, {"F32", 4},     {"I32", 4},
      {"U32", 4},  {"BF16", 2}, {"F16", 2}, {"I16", 2},     {"U16", 2},
      {"BOOL", 1}, {"I8", 1},   {"U8", 1},  {"F8_E4M3", 1}, {"F8_E5M2", 1}};
  const auto it = kSizes.find(dtype);
  return it == kSizes.end() ? 0 : it->second;
}

Result<void> write_safetensors(const fs::path& path, std::span<const TensorView> tensors,
                               const SafetensorsMetadata& metadata) {
  json header = json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  uint64_t end = 0;
  for (const TensorView& tensor : tensors) {
    const auto bytes = tensor_bytes(tensor.shape, safetensors_item_bytes(tensor.dtype));
    TW_CHECK(bytes && *bytes == tensor.bytes.size() && !tensor.dtype.empty(),
             "bytes of tensor " + tensor.name + " do not fit its dtype and shape");
    TW_CHECK(!header.contains(tensor.name), "tensor " + tensor.name + " twice");
    header[tensor.name] = {{"dtype", tensor.dtype},
                           {"shape", tensor.shape},
                           {"data_offsets", {end, end + tensor.bytes.size()}}};
    end += tensor.bytes.size();
  }
  std::string text = header.dump();
  // Blanks up to a multiple of 64, so that the data of a mapped file is aligned.
  text.append((64 - (8 + text.size()) % 64) % 64, ' ');
  const uint64_t header_bytes = text.size();
  std::vector<std::span<const std::byte>> parts;
  parts.push_back(std::as_bytes(std::span(&header_bytes, 1)));
  parts.push_back(std::as_bytes(std::span(text)));
  for (const TensorView& tensor : tensors) parts.push_back(tensor.bytes);
  return write_file(path, parts);
}

}  // namespace tracewise
