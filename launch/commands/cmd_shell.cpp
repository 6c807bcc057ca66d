// tracewise shell: looks into a run that goes on, and steers it.
#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

#include "launch/commands/cli.hpp"
#include "launch/run_contact.hpp"
#include "launch/shell/console.hpp"
#include "launch/shell/terminal.hpp"

namespace tracewise {
namespace {

namespace fs = std::filesystem;

constexpr std::chrono::seconds kLimit{10};
constexpr double kLook = 0.25;  // seconds between two looks at a log that is followed
constexpr size_t kLongestLine = 64 << 10;

// $XDG_STATE_HOME/tracewise/shell_history; empty where nobody has a home.
fs::path history_file() {
  const char* const state = std::getenv("XDG_STATE_HOME");
  const char* const home = std::getenv("HOME");
  fs::path folder;
  if (state != nullptr && *state == '/')
    folder = state;
  else if (home != nullptr && *home == '/')
    folder = fs::path(home) / ".local/state";
  else
    return {};
  std::error_code failure;
  fs::create_directories(folder / "tracewise", failure);
  return folder / "tracewise/shell_history";
}

bool leaves(const std::string& line) { return line == "exit" || line == "quit"; }

// Prints the answer, or why there is none.
int print_answer(const Console& console, const std::string& line) {
  const auto answer = console.run(line);
  if (!answer.ok()) return fail(answer.error());
  std::fputs(answer->c_str(), stdout);
  const auto printed = flush_output();
  return printed.ok() ? kExitDone : fail(printed.error());
}

// While it lives, Ctrl-C is no signal but an answer.
class InterruptHeld {
 public:
  InterruptHeld() {
    sigemptyset(&interrupt_);
    sigaddset(&interrupt_, SIGINT);
    pthread_sigmask(SIG_BLOCK, &interrupt_, &before_);
  }
  ~InterruptHeld() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  InterruptHeld(const InterruptHeld&) = delete;
  InterruptHeld& operator=(const InterruptHeld&) = delete;

  // Waits so long for it.
  bool within(double seconds) const {
    const auto whole = static_cast<time_t>(seconds);
    const timespec pause{whole, static_cast<long>((seconds - static_cast<double>(whole)) * 1e9)};
    return sigtimedwait(&interrupt_, nullptr, &pause) == SIGINT;
  }

 private:
  sigset_t interrupt_, before_;
};

// Until Ctrl-C.
int watch(const Console& console, const Watch& watch) {
  const InterruptHeld interrupt;
  const bool terminal = ::isatty(STDOUT_FILENO) != 0;
  int exit = kExitDone;
  do {
    if (terminal) std::fputs("\x1b[H\x1b[2J", stdout);
    exit = print_answer(console, watch.line);
  } while (exit == kExitDone && !interrupt.within(watch.seconds));
  return exit;
}

// A log from its last lines on, until Ctrl-C.
int follow(const Console& console, const RunView& view, const std::string& name) {
  const auto node = console.log_named(name);
  if (!node.ok()) return fail(node.error());
  std::ifstream file(view.log_file(*node), std::ios::binary | std::ios::ate);
  const std::streamoff size = file ? static_cast<std::streamoff>(file.tellg()) : 0;
  if (const int exit = print_answer(console, "log '" + *node + "'"); exit != kExitDone) return exit;
  const InterruptHeld interrupt;
  for (file.seekg(size);;) {
    for (char bytes[4096]; file.read(bytes, sizeof bytes), file.gcount() > 0;)
      std::fwrite(bytes, 1, static_cast<size_t>(file.gcount()), stdout);
    file.clear();
    if (const auto printed = flush_output(); !printed.ok()) return fail(printed.error());
    if (interrupt.within(kLook)) return kExitDone;
  }
}

// What cannot be taken back is asked about on the terminal; without one --yes has to say it.
Result<void> confirm(const std::string& line, bool yes) {
  if (yes || !Console::is_dangerous(line)) return {};
  if (::isatty(STDIN_FILENO) == 0 || ::isatty(STDOUT_FILENO) == 0)
    return bad_input(line + " asks first, and there is no terminal: say --yes");
  std::printf("%s: sure? [y/N] ", line.c_str());
  std::fflush(stdout);
  std::string answer;
  std::getline(std::cin, answer);
  if (answer == "y" || answer == "yes") return {};
  return bad_input(line + " was not confirmed; nothing was done");
}

int carry_out(const Console& console, const RunView& view, const std::string& line, bool yes) {
  if (line.size() > kLongestLine) {
    return fail(bad_input("a line of " + std::to_string(line.size()) + " bytes is no command; " +
                          std::to_string(kLongestLine) + " are the most"));
  }
  if (const auto node = followed(line)) return follow(console, view, *node);
  const auto watched = watch_of(line);
  if (!watched.ok()) return fail(watched.error());
  if (*watched) {
    if (Console::is_dangerous((*watched)->line))
      return fail(bad_input((*watched)->line + " is not for watch"));
    return watch(console, **watched);
  }
  const auto confirmed = confirm(line, yes);
  return confirmed.ok() ? print_answer(console, line) : fail(confirmed.error());
}

int converse(const Console& console, const RunView& view, const std::string& run, bool yes) {
  auto terminal =
      Terminal::open("tracewise " + fs::path(run).filename().string() + "> ", history_file(),
                     [&console](const std::string& line) {
                       Console::Completion found = console.complete(line);
                       return Terminal::Completion{std::move(found.begun), std::move(found.words)};
                     });
  if (!terminal.ok()) return fail(terminal.error());
  while (const auto line = (*terminal)->line()) {
    if (leaves(*line)) return kExitDone;
    (void)carry_out(console, view, *line, yes);  // what fails is told; the conversation goes on
  }
  std::fputs("\n", stdout);
  return kExitDone;
}

// A script's lines end at the first that fails.
int read_lines(const Console& console, const RunView& view, bool yes) {
  for (std::string line; std::getline(std::cin, line) && !leaves(line);) {
    if (const int exit = carry_out(console, view, line, yes); exit != kExitDone) return exit;
  }
  return kExitDone;
}

}  // namespace

int cmd_shell(const Args& args) {
  CLI::App app(
      "Looks into a run: who does what and who waits for whom, over the run's own TLS while it "
      "goes\n"
      "on, and what its folder has, also after its end. Asked where that folder is, by its owner.\n"
      "Without -c it reads commands from the terminal or from standard input; help lists them.",
      "tracewise shell");
  std::string run;
  std::vector<std::string> lines;
  bool json = false, yes = false;
  app.add_option("RUN", run, "run folder")->required();
  app.add_option("-c,--command", lines, "carry this out and end; repeatable")
      ->take_all()
      ->allow_extra_args(false);
  app.add_flag("--json", json, "answers as JSON");
  app.add_flag("--yes", yes, "don't ask before what cannot be taken back");
  if (const auto exit = parse_args(app, args)) return *exit;

  std::error_code ignored;
  if (!fs::is_directory(run, ignored)) return fail(bad_input(run + ": there is no such folder"));
  // Of a run that is over its folder is left.
  if (const auto contact = find_run(run); !contact.ok() && lines.empty())
    std::fprintf(stderr, "tracewise: %s; what its folder has can be asked\n",
                 contact.error().message.c_str());
  const bool colours = ::isatty(STDOUT_FILENO) != 0 && std::getenv("NO_COLOR") == nullptr;
  const RunView view(run);
  const Console console(
      [&run](const ControlRequest& request) -> ControlAnswer {
        // Looked up each time: a head that starts again is elsewhere.
        TW_ASSIGN(const RunContact now, find_run(run));
        return ask_head(now, request, std::chrono::steady_clock::now() + kLimit);
      },
      view,
      json      ? Console::Format::kJson
      : colours ? Console::Format::kColours
                : Console::Format::kText);
  for (const std::string& line : lines) {
    if (const int exit = carry_out(console, view, line, yes); exit != kExitDone) return exit;
  }
  if (!lines.empty()) return kExitDone;
  if (::isatty(STDIN_FILENO) != 0 && ::isatty(STDOUT_FILENO) != 0)
    return converse(console, view, run, yes);
  return read_lines(console, view, yes);
}

}  // namespace tracewise
