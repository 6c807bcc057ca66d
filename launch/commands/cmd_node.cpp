// tracewise node: a process of a run over several of them. Its launcher starts it.
#include <fcntl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <mutex>

#include "launch/commands/cli.hpp"
#include "launch/launcher_link.hpp"
#include "launch/node_run.hpp"
#include "launch/signals.hpp"

namespace tracewise {
namespace {

constexpr std::chrono::minutes kEnvelopeLimit{1};
// Within 15 s of its launcher's end no node is left, whatever it is busy with.
constexpr std::chrono::seconds kOrphanLimit{14};

// Keeps standard output for reports: whatever else is printed goes to standard error.
class Reporter {
 public:
  Reporter() : out_(::fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3)) {
    ::dup2(STDERR_FILENO, STDOUT_FILENO);
  }
  void write(const NodeReport& report) {
    const std::string line = to_line(report);
    const std::lock_guard lock(mutex_);
    for (size_t done = 0; done < line.size();) {
      const ssize_t put = ::write(out_, line.data() + done, line.size() - done);
      if (put < 0 && errno == EINTR) continue;
      if (put <= 0) return;  // the launcher is gone: the end of its orders says so too
      done += static_cast<size_t>(put);
    }
  }

 private:
  std::mutex mutex_;
  const int out_;
};

}  // namespace

int cmd_node(const Args& args) {
  CLI::App app(
      "A process of a run over several of them. Not for people: tracewise launch starts it\n"
      "and writes to its standard input who it is.",
      "tracewise node");
  if (const auto exit = parse_args(app, args)) return *exit;

  std::signal(SIGPIPE, SIG_IGN);
  const std::stop_token stop = stop_on_signals();
  Reporter reporter;
  const auto end = [&reporter](const Error& error) {
    reporter.write(EndReport{error, {}});
    return fail(error);
  };
  const auto envelope = LauncherLink::read_envelope(STDIN_FILENO, kEnvelopeLimit);
  if (!envelope.ok()) return end(envelope.error());
  LauncherLink link(STDIN_FILENO, kOrphanLimit);
  const auto summary =
      run_node(*envelope, link, stop, [&](const NodeReport& report) { reporter.write(report); });
  if (!summary.ok()) return end(summary.error());
  reporter.write(EndReport{std::nullopt, *summary});
  // The link's thread refers to the link: the process ends without returning from here.
  std::fflush(nullptr);
  std::_Exit(summary->interrupted ? kExitInterrupted : kExitDone);
}

}  // namespace tracewise
