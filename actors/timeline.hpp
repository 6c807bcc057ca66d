// RUN/timeline.db: who did what when, and who waited for whom, over all nodes. SQLite in WAL mode:
//
//   spans  begin, end (seconds since 1970, by the head's clock), node, actor, name, awaited
//   steps  step, time (when it was committed): a view of the spans of the actor "run"
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "actors/activity.hpp"
#include "actors/sqlite.hpp"

namespace tracewise {

// The actor whose spans are the steps of the run: "step 12", from the commit before.
inline constexpr const char* kRunActor = "run";

struct TimelineSpan {
  double begin = 0, end = 0;  // seconds since 1970
  std::string node, actor, name;
  std::string awaited;  // empty: it worked
  bool operator==(const TimelineSpan&) const = default;
};

// Not thread-safe. Errors: kIo, kCorrupt.
class Timeline {
 public:
  // Of more than `most` spans the oldest are forgotten: a million are about 100 MB.
  [[nodiscard]] static Result<std::unique_ptr<Timeline>> open(const std::filesystem::path& file,
                                                              Database::Mode mode,
                                                              uint64_t most = 1'000'000);

  // `now`: when the spans were told of, in seconds since 1970.
  [[nodiscard]] Result<void> add(const std::string& node, std::span<const Span> spans, double now);

  // What overlaps the steps first..last, by begin. kBadInput: there is none of these steps, and
  // which there are.
  [[nodiscard]] Result<std::vector<TimelineSpan>> steps(uint64_t first, uint64_t last);

 private:
  Timeline(std::unique_ptr<Database> db, uint64_t most) : db_(std::move(db)), most_(most) {}
  std::unique_ptr<Database> db_;
  const uint64_t most_;
};

// Trace events as Perfetto and chrome://tracing open them: a process for each node, a thread for
// each actor, waits as asynchronous events. Times in microseconds since the first span.
std::string chrome_trace(std::span<const TimelineSpan> spans);

}  // namespace tracewise
