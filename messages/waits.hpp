// What actors and threads wait for. Every wait of the program is one of these, so that the shell
// can show it and the watchdog can find it overdue; scripts/check_waits sees to that.
#pragma once

#include <poll.h>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace tracewise {

// Ages and times left are in seconds, so that a status means the same on another machine.
struct WaitStatus {
  std::string who;           // name of the actor, thread or place that is waited for
  std::string what;          // "weights version 5"
  double since_seconds = 0;  // ago
  double left_seconds = 0;   // until the deadline; negative: it has passed
  bool operator==(const WaitStatus&) const = default;
};

// What one actor or thread waits for. Any thread may call; each call locks for a few instructions.
class Waits {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  // Waits of an actor, which goes on meanwhile, are named by `what`; beginning one anew restarts
  // it.
  void begin(std::string_view what, std::string_view who, TimePoint since, TimePoint until);
  // What ended, if it had begun.
  struct Ended {
    std::string who;
    TimePoint since;
  };
  std::optional<Ended> end(std::string_view what);

  // In the order of `what`.
  std::vector<WaitStatus> status(TimePoint now) const;
  // Waits for work alone, without a deadline.
  bool idle() const;

 private:
  friend class Wait;
  struct Entry {
    uint64_t number = 0;  // of a Wait; 0: an actor's, named by `what`
    std::string what;
    std::string who;
    TimePoint since;
    TimePoint until;
  };
  uint64_t push(std::string_view what, std::string_view who, TimePoint since, TimePoint until);
  void pop(uint64_t number);

  mutable std::mutex mutex_;
  std::vector<Entry> entries_;  // few
  uint64_t last_number_ = 0;
};

// A condition variable that nobody can wait on but by a Wait.
class Condition {
 public:
  void notify_one() { changed_.notify_one(); }
  void notify_all() { changed_.notify_all(); }

 private:
  friend class Wait;
  std::condition_variable_any changed_;
};

// The wait of a thread, told of from construction to destruction: in the waits of the actor whose
// message it handles (WaitsScope), else in its own. A Wait is used by the thread that made it.
class Wait {
 public:
  using TimePoint = Waits::TimePoint;

  // For work that may never come. Nothing else waits so.
  static constexpr TimePoint kNoDeadline = TimePoint::max();

  Wait(std::string_view what, std::string_view who, TimePoint until);
  // For work, without a deadline.
  explicit Wait(std::string_view work) : Wait(work, "whoever has work", kNoDeadline) {}
  ~Wait();
  Wait(const Wait&) = delete;
  Wait& operator=(const Wait&) = delete;

  // Each blocks until the deadline at most.

  // What done() says in the end; it is called with `lock` held.
  template <class Done>
  bool on(Condition& condition, std::unique_lock<std::mutex>& lock, Done done) {
    if (until_ != kNoDeadline) return condition.changed_.wait_until(lock, until_, done);
    condition.changed_.wait(lock, done);
    return true;
  }
  // Likewise, and until a stop is requested.
  template <class Done>
  bool on(Condition& condition, std::unique_lock<std::mutex>& lock, const std::stop_token& stop,
          Done done) {
    if (until_ != kNoDeadline) return condition.changed_.wait_until(lock, stop, until_, done);
    return condition.changed_.wait(lock, stop, done);
  }
  // As poll(2).
  int poll(std::span<pollfd> descriptors) const;
  // Until the deadline.
  void sleep() const;
  // A thread cannot be given up: what is left of it after the deadline is overdue.
  void join(std::thread& thread) const { thread.join(); }
  // An io_context's handlers, until it is stopped.
  template <class IoContext>
  void run(IoContext& io) const {
    if (until_ == kNoDeadline) {
      io.run();
    } else {
      io.run_until(until_);
    }
  }

 private:
  const std::shared_ptr<Waits> waits_;  // shared with the actor or thread, which may end before
  const TimePoint until_;
  uint64_t number_ = 0;
};

// While it lives, the Waits of this thread are an actor's.
class WaitsScope {
 public:
  explicit WaitsScope(std::shared_ptr<Waits> waits);
  ~WaitsScope();
  WaitsScope(const WaitsScope&) = delete;
  WaitsScope& operator=(const WaitsScope&) = delete;

 private:
  std::shared_ptr<Waits> before_;
};

// As top and debuggers know the thread: by the first 15 bytes of `name`.
void name_this_thread(const std::string& name);

// Gives this thread its name, at the beginning of what it does; the kernel's too.
class NamedThread {
 public:
  explicit NamedThread(const std::string& name);

 private:
  WaitsScope scope_;
};

struct ThreadStatus {
  std::string name;
  std::vector<WaitStatus> waits;
};

// The threads of this process that have a name and are not idle, and those without one that wait;
// in the order in which they began.
std::vector<ThreadStatus> thread_status(Waits::TimePoint now);

}  // namespace tracewise
