#include "launch/stderr_pipe.hpp"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "messages/waits.hpp"

namespace tracewise {

Result<std::unique_ptr<StderrPipe>> StderrPipe::open() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0)
    return io_error(std::string("no pipe can be made: ") + std::strerror(errno));
  std::unique_ptr<StderrPipe> pipe(new StderrPipe());
  pipe->out_.reset(ends[0]);
  pipe->in_.reset(ends[1]);
  pipe->copier_ =
      std::jthread([raw = pipe.get()](const std::stop_token& stop) { raw->copy(stop); });
  return pipe;
}

// Whoever has the file open may never close it, so the copier doesn't wait for the pipe's end.
StderrPipe::~StderrPipe() {
  copier_.request_stop();
  in_.reset();
}

std::string StderrPipe::path() const { return "/proc/self/fd/" + std::to_string(in_.get()); }

void StderrPipe::copy(const std::stop_token& stop) const {
  const StopSignal asked(stop);
  for (;;) {
    pollfd waits[2] = {{out_.get(), POLLIN, 0}, {asked.fd(), POLLIN, 0}};
    if (Wait("lines to copy").poll(waits) < 0) continue;
    if ((waits[0].revents & POLLIN) == 0) return;  // nothing is left to be copied
    char buffer[4096];
    const ssize_t got = ::read(out_.get(), buffer, sizeof buffer);
    for (ssize_t done = 0; done < got;) {
      const ssize_t put = ::write(STDERR_FILENO, buffer + done, static_cast<size_t>(got - done));
      if (put < 0 && errno == EINTR) continue;
      if (put <= 0) break;  // nobody reads it any more
      done += put;
    }
  }
}

}  // namespace tracewise
