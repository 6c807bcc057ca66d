#include "model/safetensors.hpp"

#include <catch2/catch.hpp>
#include <cstring>

#include "tests/file_size_limit.hpp"
#include "tests/temp_dir.hpp"

namespace tracewise {
namespace {

const std::vector<float> kFloats = {1.5f, -2.0f, 0.25f, 8.0f, 0.0f, -0.5f};
const std::vector<uint64_t> kCounts = {7, uint64_t{1} << 63};

// A file of two tensors: "w" F32 [2, 3] and "n" U64 [2].
std::string sample_file(const TempDir& dir) {
  const TensorView tensors[] = {
      {"w", "F32", {2, 3}, std::as_bytes(std::span(kFloats))},
      {"n", "U64", {2}, std::as_bytes(std::span(kCounts))},
  };
  REQUIRE(write_safetensors(dir / "a.safetensors", tensors, {{"step", "12"}}).ok());
  return slurp(dir / "a.safetensors");
}

// A file with this header and `data_bytes` zeros after it.
std::string file_of(const std::string& header, size_t data_bytes) {
  const uint64_t size = header.size();
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &size, 8);
  return bytes + header + std::string(data_bytes, '\0');
}

Error error_of(const TempDir& dir, const std::string& bytes) {
  const auto file = SafetensorsFile::open(dir.put("bad.safetensors", bytes));
  REQUIRE_FALSE(file.ok());
  return file.error();
}

TEST_CASE("tensors and metadata come back bit by bit") {
  TempDir dir;
  sample_file(dir);
  const auto file = SafetensorsFile::open(dir / "a.safetensors");
  REQUIRE(file.ok());
  REQUIRE(file->tensors().size() == 2);
  CHECK(file->metadata() == SafetensorsMetadata{{"step", "12"}});
  const TensorView* w = file->find("w");
  REQUIRE(w != nullptr);
  CHECK(w->dtype == "F32");
  CHECK(w->shape == std::vector<int64_t>{2, 3});
  REQUIRE(w->bytes.size() == 24);
  CHECK(std::memcmp(w->bytes.data(), kFloats.data(), 24) == 0);
  CHECK(reinterpret_cast<uintptr_t>(w->bytes.data()) % 64 == 0);
  const TensorView* n = file->find("n");
  REQUIRE(n != nullptr);
  CHECK(std::memcmp(n->bytes.data(), kCounts.data(), 16) == 0);
  CHECK(file->find("v") == nullptr);
}

TEST_CASE("a file of no tensors, an empty tensor and a scalar are kept") {
  TempDir dir;
  REQUIRE(write_safetensors(dir / "none", {}, {}).ok());
  CHECK(SafetensorsFile::open(dir / "none")->tensors().empty());
  const float one = 1;
  const TensorView tensors[] = {{"empty", "F32", {0, 5}, {}},
                                {"scalar", "F32", {}, std::as_bytes(std::span(&one, 1))}};
  REQUIRE(write_safetensors(dir / "two", tensors, {}).ok());
  const auto file = SafetensorsFile::open(dir / "two");
  REQUIRE(file.ok());
  CHECK(file->find("empty")->bytes.empty());
  CHECK(file->find("scalar")->bytes.size() == 4);
}

TEST_CASE("a file cut at any byte is refused") {
  TempDir dir;
  const std::string whole = sample_file(dir);
  for (size_t size = 0; size < whole.size(); ++size) {
    INFO("cut at " << size << " of " << whole.size());
    const Error error = error_of(dir, whole.substr(0, size));
    CHECK(error.error_class == ErrorClass::kCorrupt);
    CHECK_THAT(error.message, Catch::Contains("bad.safetensors: "));
  }
  CHECK_THAT(error_of(dir, whole.substr(0, 5)).message, Catch::Contains("truncated: 5 bytes"));
  CHECK_THAT(error_of(dir, whole.substr(0, whole.size() - 1)).message,
             Catch::Contains("truncated: tensor \"n\" ends at byte 40"));
  CHECK_THAT(error_of(dir, whole + "x").message, Catch::Contains("1 bytes after the last tensor"));
}

TEST_CASE("a header length beyond the file or the format's limit is refused before it is read") {
  TempDir dir;
  std::string whole = sample_file(dir);
  for (const uint64_t length : {uint64_t{100'000'001}, uint64_t{1} << 63, ~uint64_t{0},
                                static_cast<uint64_t>(whole.size() - 7)}) {
    std::memcpy(whole.data(), &length, 8);
    CHECK_THAT(error_of(dir, whole).message, Catch::Contains(std::to_string(length)));
  }
}

TEST_CASE("a header that contradicts itself is refused with the tensor's name") {
  TempDir dir;
  const struct {
    const char* header;
    size_t data_bytes;
    const char* named;
  } cases[] = {
      {"not json", 0, "not a JSON object"},
      {"[1]", 0, "not a JSON object"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4, "do not fit dtype F32"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", 8, "do not fit dtype F32"},
      {R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4, "-1"},
      {R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", 0,
       "do not fit"},
      {R"({"a":{"dtype":"F32","shape":[1.5],"data_offsets":[0,4]}})", 4, "1.5"},
      {R"({"a":{"dtype":"F32","shape":"1","data_offsets":[0,4]}})", 4, "no list"},
      {R"({"a":{"dtype":"F32","shape":[1]}})", 4, "exactly dtype, shape and data_offsets"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1}})", 4, "exactly dtype"},
      {R"({"a":{"dtype":7,"shape":[1],"data_offsets":[0,4]}})", 4, "no text"},
      {R"({"a":7})", 4, "tensor \"a\""},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", 8, "starts at byte 4"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
       R"("b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})",
       12, "tensor \"b\" starts at byte 4 of the data, but the one before it ends at 8"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
       R"("b":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}})",
       12, "tensor \"b\" starts at byte 8"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
       R"("a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
       4, "has \"a\" twice"},
      {R"({"__metadata__":{"k":1}})", 0, "__metadata__"},
  };
  for (const auto& c : cases) {
    INFO(c.header);
    const Error error = error_of(dir, file_of(c.header, c.data_bytes));
    CHECK(error.error_class == ErrorClass::kCorrupt);
    CHECK_THAT(error.message, Catch::Contains(c.named));
  }
}

TEST_CASE("an unknown dtype is unsupported by name") {
  TempDir dir;
  const Error error =
      error_of(dir, file_of(R"({"a":{"dtype":"F4","shape":[2],"data_offsets":[0,1]}})", 1));
  CHECK(error.error_class == ErrorClass::kUnsupported);
  CHECK_THAT(error.message, Catch::Contains("F4"));
}

TEST_CASE("a missing file is an I/O error with the system's reason") {
  TempDir dir;
  const auto file = SafetensorsFile::open(dir / "none.safetensors");
  REQUIRE_FALSE(file.ok());
  CHECK(file.error().error_class == ErrorClass::kIo);
  CHECK_THAT(file.error().message, Catch::Contains("No such file"));
}

TEST_CASE("a write that fails leaves the old file and nothing beside it") {
  TempDir dir;
  sample_file(dir);
  const std::string before = slurp(dir / "a.safetensors");
  // A folder under the target's name makes the rename fail after everything was written.
  std::filesystem::create_directories(dir / "b.safetensors/x");
  CHECK_FALSE(write_safetensors(dir / "b.safetensors", {}, {}).ok());
  CHECK_FALSE(write_safetensors(dir / "no/such/folder", {}, {}).ok());
  CHECK(slurp(dir / "a.safetensors") == before);
  CHECK(std::distance(std::filesystem::directory_iterator(dir.path()), {}) == 2);
}

TEST_CASE("a disk that is full leaves the old file and nothing beside it") {
  TempDir dir;
  sample_file(dir);
  const std::string before = slurp(dir / "a.safetensors");
  const std::vector<float> zeros(1024);
  const TensorView tensor{"w", "F32", {1024}, std::as_bytes(std::span(zeros))};
  const auto written = [&] {
    const FileSizeLimit full(1000);
    return write_safetensors(dir / "a.safetensors", std::span(&tensor, 1), {});
  }();
  REQUIRE_FALSE(written.ok());
  CHECK(written.error().error_class == ErrorClass::kIo);
  CHECK_THAT(written.error().message, Catch::Contains("cannot write"));
  CHECK(slurp(dir / "a.safetensors") == before);
  CHECK(std::distance(std::filesystem::directory_iterator(dir.path()), {}) == 1);
}

}  // namespace
}  // namespace tracewise
