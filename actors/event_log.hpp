// RUN/events.jsonl: what happened to a run, for people: who came and went, what stalled, what the
// operator did. One JSON object a line, in the order of events:
//
//   {"time": seconds since 1970, "kind": "node", "who": "supervisor", "text": "node gen0 is lost"}
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "messages/fd.hpp"
#include "messages/result.hpp"

namespace tracewise {

enum class EventKind : uint8_t { kRun, kNode, kActor, kStall, kCheckpoint, kEval, kOperator };
inline constexpr EventKind kEventKinds[] = {
    EventKind::kRun,        EventKind::kNode, EventKind::kActor,   EventKind::kStall,
    EventKind::kCheckpoint, EventKind::kEval, EventKind::kOperator};
const char* to_string(EventKind kind);  // "run", "node", ...

// Any thread may call.
class EventLog {
 public:
  // Appends to what an earlier process wrote; a torn last line of its is ended. kIo.
  [[nodiscard]] static Result<std::unique_ptr<EventLog>> open(const std::filesystem::path& file);

  // Room for some lines is reserved ahead, so that word of a full disk still finds its place. A
  // line that cannot be written is lost: the node's log has it too.
  void add(EventKind kind, std::string_view who, std::string_view text);

 private:
  EventLog(Fd fd, off_t size) : fd_(std::move(fd)), size_(size) {}

  std::mutex mutex_;
  Fd fd_;
  off_t size_;          // bytes
  off_t reserved_ = 0;  // bytes from the file's beginning
};

}  // namespace tracewise
