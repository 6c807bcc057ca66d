#include "launch/signals.hpp"

#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <thread>

#include "launch/commands/commands.hpp"

namespace tracewise {

std::stop_token stop_on_signals() {
  static std::stop_source source;
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::thread([signals] {
    int number = 0;
    sigwait(&signals, &number);
    source.request_stop();
    constexpr char kStopping[] = "\nstopping; once more to end at once\n";
    (void)!write(STDERR_FILENO, kStopping, sizeof kStopping - 1);
    sigwait(&signals, &number);
    _exit(kExitInterrupted);
  }).detach();
  return source.get_token();
}

}  // namespace tracewise
