// Metrics on disk: a line a step in metrics.jsonl (and one an evaluation), the same for
// TensorBoard.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

#include "messages/records.hpp"
#include "messages/result.hpp"

namespace tracewise {

// Not thread-safe. A line is written with one call, so a reader never sees half of one except at
// the very end of the file after a crash.
class MetricsWriter {
 public:
  // Appends to `dir`/metrics.jsonl and starts a new event file. Lines of steps after `last_step`,
  // which a resumed run will write again, and a torn last line are taken out first. `wall_time` is
  // in seconds since 1970.
  static Result<std::unique_ptr<MetricsWriter>> open(const std::filesystem::path& dir,
                                                     uint64_t last_step, double wall_time);
  ~MetricsWriter();
  MetricsWriter(const MetricsWriter&) = delete;
  MetricsWriter& operator=(const MetricsWriter&) = delete;

  // {"step": N, "wall_time": S, name: value, ...}; values that are not finite become null.
  Result<void> write(uint64_t step, std::span<const Metric> metrics, double wall_time);

 private:
  MetricsWriter(std::filesystem::path lines, int lines_fd, std::filesystem::path events,
                int events_fd);

  std::filesystem::path lines_;
  int lines_fd_;
  std::filesystem::path events_;
  int events_fd_;
};

}  // namespace tracewise
