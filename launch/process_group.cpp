#include "launch/process_group.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <utility>

#include "messages/check.hpp"
#include "messages/waits.hpp"

namespace tracewise {
namespace {

constexpr std::chrono::milliseconds kMoment{1};
constexpr size_t kMaxLineBytes = size_t{64} << 10;

struct Pipe {
  Fd read, write;
};

Result<Pipe> make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0)
    return io_error(std::string("no pipe can be made: ") + std::strerror(errno));
  return Pipe{Fd(ends[0]), Fd(ends[1])};
}

void unblock(const Fd& fd) { ::fcntl(fd.get(), F_SETFL, ::fcntl(fd.get(), F_GETFL) | O_NONBLOCK); }

// The child's half of start(): nothing here may allocate. Ends with the error on `failure`.
[[noreturn]] void become(char* const* argv, int in, int out, int err, int failure, pid_t parent) {
  ::setpgid(0, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (::getppid() != parent) ::_exit(127);  // it died before it could be heard of
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  for (int number = 1; number < NSIG; ++number) std::signal(number, SIG_DFL);
  if (::dup2(in, 0) >= 0 && ::dup2(out, 1) >= 0 && ::dup2(err, 2) >= 0) ::execvp(argv[0], argv);
  const int code = errno;
  (void)!::write(failure, &code, sizeof code);
  ::_exit(127);
}

// The parent of a process; 0 if it is gone.
pid_t parent_of(pid_t pid) {
  std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
  std::string text;
  std::getline(stat, text);
  // "pid (name) state parent ...", and a name may hold anything.
  const auto name_end = text.rfind(')');
  if (name_end == std::string::npos || name_end + 4 > text.size()) return 0;
  return static_cast<pid_t>(std::strtol(text.c_str() + name_end + 3, nullptr, 10));
}

std::vector<pid_t> children_of(pid_t parent) {
  std::vector<pid_t> found;
  DIR* proc = ::opendir("/proc");
  if (proc == nullptr) return found;
  while (const dirent* entry = ::readdir(proc)) {
    const pid_t pid = static_cast<pid_t>(std::strtol(entry->d_name, nullptr, 10));
    if (pid > 0 && parent_of(pid) == parent) found.push_back(pid);
  }
  ::closedir(proc);
  return found;
}

}  // namespace

Result<std::unique_ptr<ProcessGroup>> ProcessGroup::create() {
  if (::prctl(PR_SET_CHILD_SUBREAPER, 1) != 0)
    return io_error(std::string("orphans cannot be adopted: ") + std::strerror(errno));
  std::signal(SIGPIPE, SIG_IGN);
  return std::unique_ptr<ProcessGroup>(new ProcessGroup());
}

ProcessGroup::~ProcessGroup() { (void)end_all(kEndLimit); }

Result<void> ProcessGroup::start(const std::string& name, const std::vector<std::string>& argv) {
  TW_CHECK(!argv.empty() && !runs(name), "a child without words, or one that runs already");
  TW_ASSIGN(Pipe in, make_pipe());
  TW_ASSIGN(Pipe out, make_pipe());
  TW_ASSIGN(Pipe err, make_pipe());
  TW_ASSIGN(Pipe failure, make_pipe());
  std::vector<char*> words;
  for (const std::string& word : argv) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);

  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) return io_error("no process can be started: " + std::string(std::strerror(errno)));
  if (pid == 0) {
    become(words.data(), in.read.get(), out.write.get(), err.write.get(), failure.write.get(),
           parent);
  }
  ::setpgid(pid, pid);  // both sides do, so that it is done before either goes on
  failure.write.reset();
  int code = 0;
  ssize_t got = 0;
  while ((got = ::read(failure.read.get(), &code, sizeof code)) < 0 && errno == EINTR) {
  }
  if (got == sizeof code) {
    ::waitpid(pid, nullptr, 0);
    return io_error(argv.front() + " cannot be started: " + std::strerror(code));
  }
  Child child;
  child.name = name;
  child.pid = pid;
  child.process.reset(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  TW_CHECK(static_cast<bool>(child.process), "a child of ours has no pidfd");
  child.input = std::move(in.write);
  child.out = std::move(out.read);
  child.err = std::move(err.read);
  for (const Fd* fd : {&child.input, &child.out, &child.err}) unblock(*fd);
  children_.push_back(std::move(child));
  return {};
}

ProcessGroup::Child* ProcessGroup::find(const std::string& name) {
  const auto found = std::ranges::find(children_, name, &Child::name);
  return found == children_.end() ? nullptr : &*found;
}

const ProcessGroup::Child* ProcessGroup::find(const std::string& name) const {
  return const_cast<ProcessGroup*>(this)->find(name);
}

void ProcessGroup::write(const std::string& name, std::string_view text) {
  Child* child = find(name);
  if (child == nullptr || !child->input) return;
  child->to_write += text;
  flush(*child);
}

void ProcessGroup::close_input(const std::string& name) {
  Child* child = find(name);
  if (child == nullptr) return;
  child->close_after = true;
  flush(*child);
}

void ProcessGroup::signal(const std::string& name, int number) const {
  const Child* child = find(name);
  if (child != nullptr) ::kill(-child->pid, number);
}

void ProcessGroup::flush(Child& child) {
  while (child.input && !child.to_write.empty()) {
    const ssize_t put = ::write(child.input.get(), child.to_write.data(), child.to_write.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0 && errno == EAGAIN) return;
    if (put < 0) {  // it reads no more
      child.to_write.clear();
      child.input.reset();
      return;
    }
    child.to_write.erase(0, static_cast<size_t>(put));
  }
  if (child.close_after) child.input.reset();
}

void ProcessGroup::read(Child& child, Fd& fd, std::string& line, ChildEvent::Kind kind,
                        std::vector<ChildEvent>* events) {
  const auto emit = [&] { events->push_back({kind, child.name, std::exchange(line, {}), 0}); };
  char buffer[16384];
  // More than a pipe holds, and not for ever: others have something to say as well.
  for (int round = 0; round < 16; ++round) {
    if (!fd) return;
    const ssize_t got = ::read(fd.get(), buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) {
      fd.reset();
      if (!line.empty()) emit();
      return;
    }
    for (const char c : std::string_view(buffer, static_cast<size_t>(got))) {
      if (c != '\n') line += c;
      if (c == '\n' || line.size() == kMaxLineBytes) emit();
    }
  }
}

bool ProcessGroup::reap(Child& child, std::vector<ChildEvent>* events) {
  siginfo_t info{};
  // Left a zombie until its group is gone: its number is nobody else's meanwhile.
  if (::waitid(P_PID, static_cast<id_t>(child.pid), &info, WEXITED | WNOHANG | WNOWAIT) != 0 ||
      info.si_pid == 0) {
    return false;
  }
  ::kill(-child.pid, SIGKILL);
  int status = 0;
  while (::waitpid(child.pid, &status, 0) < 0 && errno == EINTR) {
  }
  child.process.reset();
  child.pid = -1;
  // Before its pipes are read to their end: a stray may hold them.
  (void)end_strays(std::chrono::steady_clock::now() + kEndLimit);
  read(child, child.out, child.out_line, ChildEvent::Kind::kOut, events);
  read(child, child.err, child.err_line, ChildEvent::Kind::kErr, events);
  for (auto* rest : {&child.out_line, &child.err_line}) {
    if (rest->empty()) continue;
    const bool out = rest == &child.out_line;
    events->push_back({out ? ChildEvent::Kind::kOut : ChildEvent::Kind::kErr, child.name,
                       std::exchange(*rest, {}), 0});
  }
  const int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  events->push_back({ChildEvent::Kind::kExit, child.name, {}, code});
  return true;
}

// Ends what fell to this process as the adopter of orphans. False: something is left at `deadline`.
bool ProcessGroup::end_strays(TimePoint deadline) const {
  const Wait gone("their end", "the processes that it killed", deadline);
  for (;;) {
    bool left = false;
    for (const pid_t pid : children_of(::getpid())) {
      if (std::ranges::find(children_, pid, &Child::pid) != children_.end()) continue;
      ::kill(pid, SIGKILL);
      ::waitpid(pid, nullptr, WNOHANG);
      left = true;  // it, or children of its own that fall to this process now
    }
    if (!left) return true;
    if (std::chrono::steady_clock::now() >= deadline) return false;
    // A killed process needs a moment.
    Wait("another look", "itself", std::chrono::steady_clock::now() + kMoment).sleep();
  }
}

std::vector<ChildEvent> ProcessGroup::wait(TimePoint deadline, int wake_fd) {
  std::vector<pollfd> waits;
  for (const Child& child : children_) {
    waits.push_back({child.process.get(), POLLIN, 0});
    waits.push_back({child.out.get(), POLLIN, 0});
    waits.push_back({child.err.get(), POLLIN, 0});
    const bool writes = child.input && !child.to_write.empty();
    waits.push_back({writes ? child.input.get() : -1, POLLOUT, 0});
  }
  waits.push_back({wake_fd, POLLIN, 0});
  std::vector<ChildEvent> events;
  if (Wait("news", "its processes", deadline).poll(waits) <= 0) return events;
  size_t at = 0;
  for (auto child = children_.begin(); child != children_.end(); at += 4) {
    if (waits[at + 1].revents != 0)
      read(*child, child->out, child->out_line, ChildEvent::Kind::kOut, &events);
    if (waits[at + 2].revents != 0)
      read(*child, child->err, child->err_line, ChildEvent::Kind::kErr, &events);
    if (waits[at + 3].revents != 0) flush(*child);
    const bool gone = waits[at].revents != 0 && reap(*child, &events);
    child = gone ? children_.erase(child) : std::next(child);
  }
  return events;
}

Result<void> ProcessGroup::end_all(std::chrono::milliseconds limit) {
  for (const Child& child : children_) {
    ::kill(-child.pid, SIGTERM);
    ::kill(-child.pid, SIGCONT);  // a stopped one hears of nothing else
  }
  TimePoint deadline = std::chrono::steady_clock::now() + limit;
  while (!children_.empty() && std::chrono::steady_clock::now() < deadline) (void)wait(deadline);
  for (const Child& child : children_) ::kill(-child.pid, SIGKILL);
  deadline = std::chrono::steady_clock::now() + kKillLimit;
  while (!children_.empty() && std::chrono::steady_clock::now() < deadline) (void)wait(deadline);
  if (children_.empty() && end_strays(deadline)) return {};
  return Error{ErrorClass::kDeadline,
               (children_.empty() ? std::string("a process that a node left behind")
                                  : "process " + std::to_string(children_.front().pid) + " of " +
                                        children_.front().name) +
                   " did not end although it was killed"};
}

}  // namespace tracewise
