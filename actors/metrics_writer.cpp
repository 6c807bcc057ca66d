#include "actors/metrics_writer.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

#include "actors/event_file.hpp"
#include "model/file_io.hpp"

namespace tracewise {
namespace fs = std::filesystem;
namespace {

constexpr uint64_t kMaxLinesBytes = uint64_t{1} << 32;

Result<void> append(int fd, const fs::path& file, const std::string& bytes) {
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t written = ::write(fd, bytes.data() + done, bytes.size() - done);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) {
      return io_error(file.string() + ": cannot be written: " + std::strerror(errno));
    }
    done += static_cast<size_t>(written);
  }
  return {};
}

Result<int> open_to_append(const fs::path& file) {
  const int fd = ::open(file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (fd < 0) return io_error(file.string() + ": cannot be opened: " + std::strerror(errno));
  return fd;
}

// Keeps whole lines of steps up to `last_step`.
Result<void> cut_lines(const fs::path& file, uint64_t last_step) {
  std::error_code failure;
  if (!fs::exists(file, failure)) return {};
  TW_ASSIGN(const std::string text, read_file(file, kMaxLinesBytes));
  std::string kept;
  for (size_t begin = 0, end = 0; (end = text.find('\n', begin)) != std::string::npos;
       begin = end + 1) {
    const std::string line = text.substr(begin, end - begin);
    const auto parsed = nlohmann::json::parse(line, nullptr, false);
    if (!parsed.is_object() || !parsed.contains("step") || !parsed["step"].is_number_unsigned()) {
      return corrupt(file.string() + ": this line has no step: " + line.substr(0, 80));
    }
    if (parsed["step"].get<uint64_t>() <= last_step) kept += line + "\n";
  }
  if (kept == text) return {};
  return write_file(file, kept);
}

}  // namespace

MetricsWriter::MetricsWriter(fs::path lines, int lines_fd, fs::path events, int events_fd)
    : lines_(std::move(lines)),
      lines_fd_(lines_fd),
      events_(std::move(events)),
      events_fd_(events_fd) {}

MetricsWriter::~MetricsWriter() {
  ::close(lines_fd_);
  ::close(events_fd_);
}

Result<std::unique_ptr<MetricsWriter>> MetricsWriter::open(const fs::path& dir, uint64_t last_step,
                                                           double wall_time) {
  const fs::path lines = dir / "metrics.jsonl";
  TW_TRY(cut_lines(lines, last_step));
  // TensorBoard reads the files of a folder in the order of their names: seconds, then pid.
  char name[80];
  std::snprintf(name, sizeof name, "events.out.tfevents.%010" PRIu64 ".%d.tracewise",
                static_cast<uint64_t>(wall_time), static_cast<int>(::getpid()));
  const fs::path events = dir / name;
  TW_ASSIGN(const int lines_fd, open_to_append(lines));
  Result<int> events_fd = open_to_append(events);
  if (!events_fd.ok()) {
    ::close(lines_fd);
    return events_fd.error();
  }
  std::unique_ptr<MetricsWriter> writer(
      new MetricsWriter(lines, lines_fd, events, events_fd.value()));
  TW_TRY(append(*events_fd, events, tf_record(version_event(wall_time))));
  if (last_step > 0) {
    TW_TRY(append(*events_fd, events, tf_record(restart_event(wall_time, last_step + 1))));
  }
  return writer;
}

Result<void> MetricsWriter::write(uint64_t step, std::span<const Metric> metrics,
                                  double wall_time) {
  nlohmann::ordered_json line = {{"step", step}, {"wall_time", wall_time}};
  for (const Metric& metric : metrics) line[metric.name] = metric.value;  // not finite: null
  TW_TRY(append(lines_fd_, lines_, line.dump() + "\n"));
  return append(events_fd_, events_, tf_record(scalars_event(wall_time, step, metrics)));
}

}  // namespace tracewise
