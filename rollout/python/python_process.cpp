#include "rollout/python/python_process.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "messages/check.hpp"
#include "messages/waits.hpp"
#include "rollout/python/scripts.hpp"

namespace tracewise {
namespace {

static_assert(std::endian::native == std::endian::little,
              "frames begin with a little-endian length");

constexpr uint32_t kMaxReplyBytes = uint32_t{64} << 20;
constexpr size_t kPrintedBytes = 2048;
constexpr std::chrono::milliseconds kKillLimit{10'000};
constexpr int kChannel = 3, kScript = 4;  // descriptors in the child

std::string last_error() { return std::strerror(errno); }

struct Image {  // what the child is started with
  const char* interpreter;
  char* const* argv;
  char* const* environment;
  int channel, script, output, failure;
  uint64_t memory_bytes;
  pid_t parent;
};

// The child's half: nothing here may allocate. Ends with the error on `failure`.
[[noreturn]] void become(const Image& image) {
  ::setpgid(0, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  if (::getppid() != image.parent) ::_exit(127);  // it died before it could be heard of
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  for (int number = 1; number < NSIG; ++number) std::signal(number, SIG_DFL);
  const rlimit no_core{0, 0};
  ::setrlimit(RLIMIT_CORE, &no_core);
  const rlimit memory{image.memory_bytes, image.memory_bytes};
  const bool limited = image.memory_bytes == 0 || ::setrlimit(RLIMIT_AS, &memory) == 0;
  // Above those that are about to be taken.
  const int channel = ::fcntl(image.channel, F_DUPFD_CLOEXEC, 16);
  const int script = ::fcntl(image.script, F_DUPFD_CLOEXEC, 16);
  const int output = ::fcntl(image.output, F_DUPFD_CLOEXEC, 16);
  const int failure = ::fcntl(image.failure, F_DUPFD_CLOEXEC, 16);
  const int nothing = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (limited && ::dup2(nothing, 0) >= 0 && ::dup2(output, 1) >= 0 && ::dup2(output, 2) >= 0 &&
      ::dup2(channel, kChannel) >= 0 && ::dup2(script, kScript) >= 0)
    ::execvpe(image.interpreter, image.argv, image.environment);
  const int code = errno;
  (void)!::write(failure, &code, sizeof code);
  ::_exit(127);
}

Result<Fd> script_file(PythonService service) {
  Fd file(::memfd_create("tracewise-python", MFD_CLOEXEC));
  if (!file) return io_error("no script can be handed to Python: " + last_error());
  const std::string text = python_script(service);
  for (size_t at = 0; at < text.size();) {
    const ssize_t put = ::write(file.get(), text.data() + at, text.size() - at);
    if (put < 0) return io_error("no script can be handed to Python: " + last_error());
    at += static_cast<size_t>(put);
  }
  return file;
}

// The environment with one thread for each of its libraries' pools: the cores are the engines'.
std::vector<std::string> child_environment() {
  std::vector<std::string> entries = {"OMP_NUM_THREADS=1", "OPENBLAS_NUM_THREADS=1",
                                      "MKL_NUM_THREADS=1"};
  const auto own = entries;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const auto name = text.substr(0, text.find('='));
    if (std::ranges::none_of(own, [&](const auto& o) { return o.substr(0, o.find('=')) == name; }))
      entries.emplace_back(text);
  }
  return entries;
}

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> found;
  for (std::string& word : words) found.push_back(word.data());
  found.push_back(nullptr);
  return found;
}

std::string interpreter_of(const PythonOptions& options) {
  if (!options.interpreter.empty()) return options.interpreter;
  const char* own = std::getenv("TRACEWISE_PYTHON");
  return own != nullptr && *own != '\0' ? own : "python3";
}

// Whom waits name.
constexpr const char* kProcess = "the Python process";

}  // namespace

PythonProcess::~PythonProcess() { (void)end(); }

Result<void> PythonProcess::start() {
  if (runs()) return {};
  const TimePoint deadline = std::chrono::steady_clock::now() + options_.start_limit;
  TW_TRY(launch(deadline));
  auto ready = exchange(options_.setup, deadline);
  if (!ready.ok()) (void)end();
  return ready.ok() ? Result<void>() : ready.error();
}

Result<std::string> PythonProcess::call(std::string_view request, std::chrono::milliseconds limit) {
  TW_TRY(start());
  return exchange(request, std::chrono::steady_clock::now() + limit);
}

Result<void> PythonProcess::launch(TimePoint deadline) {
  int channel[2], output[2], failure[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, channel) != 0)
    return io_error("no socket for Python: " + last_error());
  channel_.reset(channel[0]);
  const Fd child_channel(channel[1]);
  if (::pipe2(output, O_CLOEXEC) != 0) return io_error("no pipe for Python: " + last_error());
  output_.reset(output[0]);
  const Fd child_output(output[1]);
  if (::pipe2(failure, O_CLOEXEC) != 0) return io_error("no pipe for Python: " + last_error());
  const Fd told(failure[0]);
  Fd tells(failure[1]);
  for (const Fd* fd : {&channel_, &output_})
    ::fcntl(fd->get(), F_SETFL, ::fcntl(fd->get(), F_GETFL) | O_NONBLOCK);
  TW_ASSIGN(const Fd script, script_file(options_.service));

  const std::string interpreter = interpreter_of(options_);
  std::vector<std::string> words = {interpreter, "/proc/self/fd/" + std::to_string(kScript)};
  std::vector<std::string> environment = child_environment();
  const auto argv = pointers(words), envp = pointers(environment);
  const Image image{interpreter.c_str(), argv.data(),           envp.data(),
                    child_channel.get(), script.get(),          child_output.get(),
                    tells.get(),         options_.memory_bytes, ::getpid()};
  const pid_t pid = ::fork();
  if (pid < 0) return io_error("no process can be started for Python: " + last_error());
  if (pid == 0) become(image);
  ::setpgid(pid, pid);  // both sides do, so that it is done before either goes on
  tells.reset();
  {
    const std::lock_guard lock(mutex_);
    pid_ = pid;
    process_.reset(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    TW_CHECK(static_cast<bool>(process_), "a child of ours has no pidfd");
    if (aborted_) ::kill(-pid_, SIGKILL);
  }
  // What became of it: nothing where it runs, else why not.
  pollfd fd{told.get(), POLLIN, 0};
  int ready = 0;
  const Wait start("its start", kProcess, deadline);
  while ((ready = start.poll({&fd, 1})) < 0 && errno == EINTR) {
  }
  if (ready == 0)
    return fail(ErrorClass::kDeadline, "the Python interpreter " + interpreter + " takes too long");
  int code = 0;
  if (::read(told.get(), &code, sizeof code) != sizeof code) return {};
  return fail(ErrorClass::kIo, "the Python interpreter " + interpreter +
                                   " cannot be started: " + std::strerror(code));
}

Result<std::string> PythonProcess::exchange(std::string_view request, TimePoint deadline) {
  printed_.clear();
  TW_TRY(send(request, deadline));
  return receive(deadline);
}

Result<void> PythonProcess::send(std::string_view request, TimePoint deadline) {
  const auto length = static_cast<uint32_t>(request.size());
  std::string frame(reinterpret_cast<const char*>(&length), sizeof length);
  frame += request;
  for (size_t at = 0; at < frame.size();) {
    const ssize_t put = ::send(channel_.get(), frame.data() + at, frame.size() - at, MSG_NOSIGNAL);
    if (put >= 0) {
      at += static_cast<size_t>(put);
    } else if (errno == EAGAIN) {
      TW_TRY(wait(POLLOUT, deadline));
    } else if (errno != EINTR) {
      return ended();
    }
  }
  return {};
}

Result<std::string> PythonProcess::receive(TimePoint deadline) {
  std::string frame;
  std::array<char, 65536> part;
  for (;;) {
    uint32_t length = 0;
    if (frame.size() >= sizeof length) {
      std::memcpy(&length, frame.data(), sizeof length);
      if (length == 0 || length > kMaxReplyBytes || frame.size() > sizeof length + length)
        return fail(ErrorClass::kCorrupt, "the Python process sent what is no reply");
      if (frame.size() == sizeof length + length) break;
    }
    const ssize_t got = ::recv(channel_.get(), part.data(), part.size(), 0);
    if (got > 0) {
      frame.append(part.data(), static_cast<size_t>(got));
    } else if (got < 0 && errno == EAGAIN) {
      TW_TRY(wait(POLLIN, deadline));
    } else if (got == 0 || errno != EINTR) {
      return ended();
    }
  }
  const char status = frame[sizeof(uint32_t)];
  std::string text = frame.substr(sizeof(uint32_t) + 1);
  if (status == 'r') return text;
  if (status == 'e') return bad_input(std::move(text));
  if (status == 'm') return fail(ErrorClass::kResource, text);
  return fail(ErrorClass::kCorrupt, "the Python process sent what is no reply");
}

// Until the channel is ready; meanwhile what is printed is taken, or printing would block.
Result<void> PythonProcess::wait(short events, TimePoint deadline) {
  const Wait wait((events & POLLIN) != 0 ? "its reply" : "room for a call", kProcess, deadline);
  for (;;) {
    if (aborted_) return fail(ErrorClass::kCancelled, "the call to Python was given up");
    pollfd fds[2] = {{channel_.get(), events, 0}, {output_.get(), POLLIN, 0}};
    const bool late = std::chrono::steady_clock::now() >= deadline;
    const int ready = wait.poll({fds, output_ ? 2u : 1u});
    if (ready > 0 && fds[1].revents != 0 && output_) listen();
    if (ready > 0 && fds[0].revents != 0) return {};
    if (late) return fail(ErrorClass::kDeadline, "no reply from Python in time");
  }
}

void PythonProcess::listen() {
  // A pipe's worth and no more: the other side may print for ever.
  std::array<char, 65536> part;
  const ssize_t got = ::read(output_.get(), part.data(), part.size());
  if (got > 0) printed_.append(part.data(), static_cast<size_t>(got));
  if (printed_.size() > kPrintedBytes) printed_.erase(0, printed_.size() - kPrintedBytes);
  if (got == 0) output_.reset();  // closed by the other side
}

Error PythonProcess::ended() {
  if (aborted_) return fail(ErrorClass::kCancelled, "the call to Python was given up");
  const int status = end();
  const std::string how = WIFSIGNALED(status)
                              ? "was ended by signal " + std::to_string(WTERMSIG(status)) + " (" +
                                    ::strsignal(WTERMSIG(status)) + ")"
                              : "ended with exit code " + std::to_string(WEXITSTATUS(status));
  return fail(ErrorClass::kInternal, "the Python process " + how);
}

Error PythonProcess::fail(ErrorClass error_class, const std::string& what) {
  (void)end();
  if (output_) listen();
  const size_t last = printed_.find_last_not_of(" \r\n");
  printed_.erase(last == std::string::npos ? 0 : last + 1);
  return {error_class, printed_.empty() ? what : what + "; it printed: " + printed_};
}

// Kills the process with its group and reaps it. Its wait status, which for one that ended by
// itself says how.
int PythonProcess::end() {
  const std::lock_guard lock(mutex_);
  if (pid_ < 0) return 0;
  int status = 0;
  ::kill(-pid_, SIGKILL);
  // The kernel may hold one that was killed (dead network disk): it is left to init then.
  pollfd fd{process_.get(), POLLIN, 0};
  const Wait gone("its end", kProcess, std::chrono::steady_clock::now() + kKillLimit);
  while (gone.poll({&fd, 1}) < 0 && errno == EINTR) {
  }
  (void)::waitpid(pid_, &status, WNOHANG);
  pid_ = -1;
  process_.reset();
  channel_.reset();
  return status;
}

bool PythonProcess::runs() {
  if (pid_ < 0) return false;
  pollfd fd{channel_.get(), POLLIN, 0};
  const Wait look("what it says unasked", kProcess, std::chrono::steady_clock::now());
  if (look.poll({&fd, 1}) == 0) return true;
  (void)end();  // it has ended, or speaks unasked
  return false;
}

void PythonProcess::abort() {
  aborted_ = true;
  const std::lock_guard lock(mutex_);
  if (pid_ > 0) ::kill(-pid_, SIGKILL);
}

}  // namespace tracewise
