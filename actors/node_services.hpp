// What the actors of one node share beside messages: the registry, the log, the way to the thread
// that started the node, and the count of who is still alive. All are thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "actors/event_log.hpp"
#include "actors/node_registry.hpp"
#include "actors/progress.hpp"
#include "actors/run_control.hpp"
#include "messages/result.hpp"
#include "messages/waits.hpp"

namespace tracewise {

// logs/NODE.log: a line an event, with its time.
class NodeLog {
 public:
  // kIo if the file cannot be opened.
  static Result<std::unique_ptr<NodeLog>> open(const std::filesystem::path& file);
  ~NodeLog();
  void info(std::string_view line);
  void warn(std::string_view line);

 private:
  struct Impl;
  explicit NodeLog(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// What the actors have to tell the thread that waits for the run.
class NodeInbox {
 public:
  // The first end counts; what follows it are its consequences.
  void post_end(Result<RunSummary> end);
  void post_ready();  // every actor is: the run may begin
  void post_progress(Progress progress);
  void wake();  // ends a wait() early
  bool ready() const;

  // Waits until something is here, somebody wakes it, or `until`. Gives the end once it is there,
  // for good.
  std::optional<Result<RunSummary>> wait(std::chrono::steady_clock::time_point until,
                                         std::optional<Progress>* progress);

 private:
  mutable std::mutex mutex_;
  Condition changed_;
  std::optional<Result<RunSummary>> end_;
  std::optional<Progress> progress_;
  bool ready_ = false;
  bool woken_ = false;
};

// Counts actors in and out, so that a node can tell in bounded time whether all are gone.
class ExitGate {
 public:
  void enter();
  void leave();
  bool wait_empty(std::chrono::steady_clock::time_point until);

 private:
  std::mutex mutex_;
  Condition changed_;
  int inside_ = 0;
};

// Shared by every actor of a node and the thread that started it: an actor that hangs in a
// computation may outlive the latter's interest.
struct NodeServices {
  NodeRegistry registry;
  NodeInbox inbox;
  ExitGate gate;
  std::unique_ptr<EventLog> events;                       // of the run; on the head alone
  std::shared_ptr<NodeLog> log;                           // shared with whoever else writes to it
  std::function<void(const std::string& line)> on_event;  // any thread may call; may be empty

  // What `who` did or found, for the run's events and the log: tell() what whoever watches the run
  // ought to see now.
  void tell(EventKind kind, std::string_view who, const std::string& line);
  void note(EventKind kind, std::string_view who, const std::string& line);
};

}  // namespace tracewise
