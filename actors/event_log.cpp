#include "actors/event_log.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

namespace tracewise {
namespace {

constexpr off_t kReserve = 64 << 10, kLeast = 16 << 10;  // bytes

// Shown to people; the wall clock decides nothing.
double wall_time() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

}  // namespace

const char* to_string(EventKind kind) {
  switch (kind) {
    case EventKind::kRun:
      return "run";
    case EventKind::kNode:
      return "node";
    case EventKind::kActor:
      return "actor";
    case EventKind::kStall:
      return "stall";
    case EventKind::kCheckpoint:
      return "checkpoint";
    case EventKind::kEval:
      return "eval";
    case EventKind::kOperator:
      return "operator";
  }
  return "";
}

Result<std::unique_ptr<EventLog>> EventLog::open(const std::filesystem::path& file) {
  Fd fd(::open(file.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
  if (!fd) return io_error(file.string() + ": cannot be opened: " + std::strerror(errno));
  const off_t size = ::lseek(fd.get(), 0, SEEK_END);
  char last = '\n';
  if (size > 0 && ::pread(fd.get(), &last, 1, size - 1) != 1)
    return io_error(file.string() + ": cannot be read: " + std::strerror(errno));
  if (last != '\n' && ::write(fd.get(), "\n", 1) != 1)
    return io_error(file.string() + ": cannot be written: " + std::strerror(errno));
  return std::unique_ptr<EventLog>(new EventLog(std::move(fd), last == '\n' ? size : size + 1));
}

void EventLog::add(EventKind kind, std::string_view who, std::string_view text) {
  using nlohmann::ordered_json;
  const std::string line =
      ordered_json{{"time", wall_time()}, {"kind", to_string(kind)}, {"who", who}, {"text", text}}
          .dump(-1, ' ', false, ordered_json::error_handler_t::replace) +
      "\n";
  const std::lock_guard lock(mutex_);
  // File systems that cannot reserve do without.
  if (reserved_ - size_ < kLeast &&
      ::fallocate(fd_.get(), FALLOC_FL_KEEP_SIZE, size_, kReserve) == 0)
    reserved_ = size_ + kReserve;
  const ssize_t written = ::write(fd_.get(), line.data(), line.size());
  if (written > 0) size_ += written;
}

}  // namespace tracewise
