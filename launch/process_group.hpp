// Child processes of which none outlives its parent's interest: each leads a process group of its
// own, hears of its parent's death, and whatever it started and left behind is ended with it.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "messages/result.hpp"
#include "transport/socket.hpp"

namespace tracewise {

struct ChildEvent {
  enum class Kind : uint8_t { kOut, kErr, kExit };
  Kind kind = Kind::kOut;
  std::string child;
  std::string line;   // without its line feed, for kOut and kErr
  int exit_code = 0;  // for kExit; 128 + the signal that ended it
};

// One thread owns a group and calls everything. A process has one group and no other children: it
// adopts what its children leave behind, and ends all that it doesn't know.
class ProcessGroup {
 public:
  // Makes this process the adopter of its descendants' orphans, and ignores SIGPIPE.
  [[nodiscard]] static Result<std::unique_ptr<ProcessGroup>> create();
  // end_all() with kEndLimit.
  ~ProcessGroup();
  ProcessGroup(const ProcessGroup&) = delete;
  ProcessGroup& operator=(const ProcessGroup&) = delete;

  // Starts `argv`, whose first word is a path or looked up in PATH, under a name that no running
  // child has. It gets SIGTERM when the calling thread dies. kIo: it can't be started, and why.
  [[nodiscard]] Result<void> start(const std::string& name, const std::vector<std::string>& argv);

  bool runs(const std::string& name) const { return find(name) != nullptr; }
  bool empty() const { return children_.empty(); }

  // Queues `text` for the child's standard input. Nothing happens where there is no such child.
  void write(const std::string& name, std::string_view text);
  // Ends its standard input after what is queued.
  void close_input(const std::string& name);
  // Sends `number` to the child and its process group.
  void signal(const std::string& name, int number) const;

  // Waits until a child says something or ends, `wake_fd` (-1: none) is readable, or `deadline`,
  // and gives what happened in its order; all of a child's lines come before its end. Lines are cut
  // at 64 KiB. When a child has ended, its whole process group and what escaped from it is gone.
  [[nodiscard]] std::vector<ChildEvent> wait(TimePoint deadline, int wake_fd = -1);

  // SIGTERM to all, SIGKILL to those left after `limit`, and waits for them: nothing is left. What
  // they still say is dropped. kDeadline: the kernel holds one that was killed (dead network disk).
  Result<void> end_all(std::chrono::milliseconds limit);

  static constexpr std::chrono::milliseconds kEndLimit{2000};
  static constexpr std::chrono::milliseconds kKillLimit{10'000};

 private:
  struct Child {
    std::string name;
    pid_t pid = -1;
    Fd process;  // pidfd
    Fd input, out, err;
    std::string to_write;
    bool close_after = false;
    std::string out_line, err_line;  // begun, not yet ended
  };

  ProcessGroup() = default;
  Child* find(const std::string& name);
  const Child* find(const std::string& name) const;
  static void flush(Child& child);
  static void read(Child& child, Fd& fd, std::string& line, ChildEvent::Kind kind,
                   std::vector<ChildEvent>* events);
  // Reaps a child that has ended. False: it still runs.
  bool reap(Child& child, std::vector<ChildEvent>* events);
  bool end_strays(TimePoint deadline) const;

  std::list<Child> children_;
};

}  // namespace tracewise
