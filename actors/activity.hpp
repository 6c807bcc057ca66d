// What an actor did and waited for, in stretches: made from the changes of its registry entry, for
// the timeline of a run.
#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace tracewise {

// A stretch of an actor's time. Times are seconds before whoever tells of it was asked, so that
// they mean the same on another machine.
struct Span {
  std::string actor;
  std::string name;     // what it did, or what it waited for: "training", "weights version 5"
  std::string awaited;  // of a wait: who was waited for
  double began_seconds = 0;
  double ended_seconds = 0;
  bool operator==(const Span&) const = default;
};

// The spans of a node's actors that nobody has taken yet: the newest kMost. Any thread may call.
class SpanBuffer {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;
  static constexpr size_t kMost = 8192;

  void add(std::string actor, std::string name, std::string awaited, TimePoint begin,
           TimePoint end);
  std::vector<Span> take(TimePoint now);

 private:
  struct Kept {
    std::string actor, name, awaited;
    TimePoint begin, end;
  };
  std::mutex mutex_;
  std::vector<Kept> kept_;
  size_t oldest_ = 0;  // where the next one goes once there are kMost
};

// Makes one actor's states into spans. What is shorter than kLeast belongs to what surrounds it: an
// engine's pauses between two steps, say. Not thread-safe.
class Activity {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;
  static constexpr std::chrono::milliseconds kLeast{10};

  Activity(SpanBuffer* spans, std::string actor, std::string_view state, TimePoint now)
      : spans_(spans), actor_(std::move(actor)), name_(state), begin_(now), end_(now) {}
  ~Activity() { close(); }
  Activity(const Activity&) = delete;
  Activity& operator=(const Activity&) = delete;

  // The actor was in `state` since the last call, until `now`.
  void was(std::string_view state, TimePoint now);

 private:
  void close();

  SpanBuffer* spans_;
  const std::string actor_;
  std::string name_;
  TimePoint begin_, end_;
};

}  // namespace tracewise
