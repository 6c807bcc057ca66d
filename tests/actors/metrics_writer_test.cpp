#include "actors/metrics_writer.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <fstream>
#include <limits>

#include "actors/event_file.hpp"
#include "model/file_io.hpp"
#include "tests/temp_dir.hpp"

namespace tracewise {
namespace {
namespace fs = std::filesystem;

TEST_CASE("crc32c gives the check values of RFC 3720") {
  CHECK(crc32c("123456789") == 0xe3069283u);
  CHECK(crc32c(std::string(32, '\0')) == 0x8a9136aau);
  CHECK(crc32c(std::string(32, '\xff')) == 0x62a8ab43u);
  CHECK(crc32c("") == 0);
}

// Bytes of tests/data/actors/events.golden, written by scripts/make_event_golden.py with
// TensorBoard's own record writer and Event messages.
TEST_CASE("event files equal those that TensorBoard's own writer makes") {
  const std::vector<Metric> metrics = {{"train/loss", 0.5}, {"eval/accuracy", 0.97265625}};
  const std::string ours = tf_record(version_event(1700000000.25)) +
                           tf_record(restart_event(1700000001.5, 300)) +
                           tf_record(scalars_event(1700000002.0, 300, metrics));
  const auto golden = read_file(fs::path(TRACEWISE_TEST_DATA) / "actors/events.golden", 1 << 20);
  REQUIRE(golden.ok());
  CHECK(ours == golden.value());
}

TEST_CASE("a value that is not finite is null in the lines and left out of the events") {
  TempDir dir;
  auto writer = MetricsWriter::open(dir.path(), 0, 5.5).value();
  const double inf = std::numeric_limits<double>::infinity();
  REQUIRE(
      writer->write(1, std::vector<Metric>{{"a", std::nan("")}, {"b", 2}, {"c", inf}}, 6.5).ok());
  CHECK(read_file(dir.path() / "metrics.jsonl", 1 << 20).value() ==
        "{\"step\":1,\"wall_time\":6.5,\"a\":null,\"b\":2.0,\"c\":null}\n");
  CHECK(scalars_event(6.5, 1, std::vector<Metric>{{"a", std::nan("")}, {"b", 2}, {"c", inf}}) ==
        scalars_event(6.5, 1, std::vector<Metric>{{"b", 2}}));
}

TEST_CASE("a resumed run takes out the lines that it will write again and a torn one") {
  TempDir dir;
  std::ofstream(dir.path() / "metrics.jsonl")
      << "{\"step\":1}\n{\"step\":2}\n{\"step\":2,\"eval/accuracy\":0.5}\n{\"step\":3}\n{\"st";
  auto writer = MetricsWriter::open(dir.path(), 2, 5).value();
  REQUIRE(writer->write(3, {}, 6).ok());
  CHECK(read_file(dir.path() / "metrics.jsonl", 1 << 20).value() ==
        "{\"step\":1}\n{\"step\":2}\n{\"step\":2,\"eval/accuracy\":0.5}\n"
        "{\"step\":3,\"wall_time\":6.0}\n");
}

TEST_CASE("a metrics file that somebody else's line broke is named, not cut") {
  TempDir dir;
  std::ofstream(dir.path() / "metrics.jsonl") << "{\"step\":1}\nhello\n";
  const auto writer = MetricsWriter::open(dir.path(), 1, 5);
  REQUIRE_FALSE(writer.ok());
  CHECK(writer.error().message.find("hello") != std::string::npos);
  CHECK(read_file(dir.path() / "metrics.jsonl", 1 << 20).value() == "{\"step\":1}\nhello\n");
}

}  // namespace
}  // namespace tracewise
