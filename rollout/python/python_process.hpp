// A Python process that answers requests, and that no request can hurt us through: it has its own
// memory limit, every call has a deadline, and what misbehaves is killed with all that it started.
//
// The Python half stands beside this file: host.py frames and answers, one service each does the
// work. Both are part of the binary.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

#include "messages/fd.hpp"
#include "messages/result.hpp"

namespace tracewise {

enum class PythonService : uint8_t {
  kReward,        // a reward function of the user's
  kChatTemplate,  // Jinja2, for chat templates
  kRows,          // pyarrow, for Parquet files
};

struct PythonOptions {
  PythonService service = PythonService::kReward;
  // A path, or a name that is looked up in PATH. Empty: $TRACEWISE_PYTHON, which ./tracewise sets
  // to its own environment, else python3.
  std::string interpreter = {};
  std::string setup = "{}";                       // JSON, the service's first request
  uint64_t memory_bytes = 0;                      // of address space; 0: no limit
  std::chrono::milliseconds start_limit{60'000};  // for the interpreter and its setup
};

// One thread at a time calls, but for abort(). The kernel ends the process with the thread that
// started it, which costs the next call a start.
class PythonProcess {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  explicit PythonProcess(PythonOptions options) : options_(std::move(options)) {}
  // Kills it.
  ~PythonProcess();
  PythonProcess(const PythonProcess&) = delete;
  PythonProcess& operator=(const PythonProcess&) = delete;

  // Starts it where it doesn't run: before the first call, and after one that ended it. Blocks for
  // start_limit at most. kIo: no such interpreter. Errors of call() for the setup.
  [[nodiscard]] Result<void> start();

  // The service's answer, JSON, to a request, JSON; start() first. Blocks for `limit` at most.
  // kBadInput: the service says that the request failed, and why; the process goes on.
  // kDeadline, kResource (out of memory), kCorrupt (no reply of ours), kInternal (it ended),
  // kCancelled (aborted): the process is gone; messages end with the last lines that it printed.
  [[nodiscard]] Result<std::string> call(std::string_view request, std::chrono::milliseconds limit);

  // Ends the call that runs, and every later one, with kCancelled. Any thread.
  void abort();

 private:
  Result<void> launch(TimePoint deadline);
  bool runs();
  Result<std::string> exchange(std::string_view request, TimePoint deadline);
  Result<void> send(std::string_view request, TimePoint deadline);
  Result<std::string> receive(TimePoint deadline);
  Result<void> wait(short events, TimePoint deadline);
  void listen();
  Error ended();
  Error fail(ErrorClass error_class, const std::string& what);
  int end();

  const PythonOptions options_;
  std::mutex mutex_;  // of pid_, which abort() reads
  pid_t pid_ = -1;    // -1: reaped
  std::atomic<bool> aborted_ = false;
  Fd process_;  // pidfd
  Fd channel_, output_;
  std::string printed_;  // the last of it
};

}  // namespace tracewise
