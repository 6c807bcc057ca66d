// The real binary as a child process.
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "tests/temp_dir.hpp"

namespace tracewise {

// Started with its output in two files, and its input from one; killed when the object dies.
class Process {
 public:
  Process(const std::vector<std::string>& words, const std::filesystem::path& output_base,
          const std::string& input = "/dev/null")
      : out_(output_base.string() + ".out"), err_(output_base.string() + ".err") {
    std::vector<char*> argv;
    for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(nullptr);
    pid_ = ::fork();
    if (pid_ != 0) return;
    redirect(input, STDIN_FILENO, O_RDONLY);
    redirect(out_, STDOUT_FILENO, O_WRONLY | O_CREAT | O_TRUNC);
    redirect(err_, STDERR_FILENO, O_WRONLY | O_CREAT | O_TRUNC);
    ::execv(argv[0], argv.data());
    ::_exit(127);
  }
  ~Process() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
  }
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  pid_t pid() const { return pid_; }
  void signal(int number) const { ::kill(pid_, number); }

  // The exit code; 128 + the signal if one ended it; -1 if it still runs after `timeout`.
  int wait(std::chrono::milliseconds timeout = std::chrono::minutes(5)) {
    const auto until = std::chrono::steady_clock::now() + timeout;
    for (;;) {
      int status = 0;
      if (::waitpid(pid_, &status, WNOHANG) == pid_) {
        pid_ = -1;
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
      }
      if (std::chrono::steady_clock::now() > until) return -1;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  }

  std::string out() const { return slurp(out_); }
  std::string err() const { return slurp(err_); }

 private:
  static void redirect(const std::string& file, int to, int flags) {
    const int from = ::open(file.c_str(), flags, 0644);
    if (from < 0 || ::dup2(from, to) < 0) ::_exit(127);
  }

  std::string out_, err_;
  pid_t pid_ = -1;
};

struct Finished {
  int exit_code = -1;  // as Process::wait()
  std::string out;
  std::string err;
};

// `tracewise args...` with `input` on its standard input.
inline Finished run_tracewise(const std::vector<std::string>& args, const std::string& input = "") {
  const TempDir dir;
  std::vector<std::string> words = {TRACEWISE_BINARY};
  words.insert(words.end(), args.begin(), args.end());
  Process process(words, dir / "run", dir.put("in", input).string());
  const int exit_code = process.wait();
  return {exit_code, process.out(), process.err()};
}

}  // namespace tracewise
