// The commands of `tracewise shell`: a line of words in, text or JSON out.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "actors/control.hpp"
#include "launch/shell/run_view.hpp"

namespace tracewise {

// A line's words, at blanks; 'x y' and "x y" are one word. kBadInput: a quote without its end.
[[nodiscard]] Result<std::vector<std::string>> shell_words(const std::string& line);

// "watch [SECONDS] COMMAND": the command, and how often.
struct Watch {
  double seconds = 2;
  std::string line;
};
// Nothing: the line asks for something else. kBadInput: no command behind it, or an odd interval.
[[nodiscard]] Result<std::optional<Watch>> watch_of(const std::string& line);

// "log [NODE] -f": the node, empty where there is only one. Nothing: the line asks for something
// else.
std::optional<std::string> followed(const std::string& line);

class Console {
 public:
  // Asks the run's head; blocks for as long as it has a deadline for.
  using Ask = std::function<ControlAnswer(const ControlRequest& request)>;

  enum class Format : uint8_t { kText, kColours, kJson };

  Console(Ask ask, RunView view, Format format)
      : ask_(std::move(ask)), view_(std::move(view)), format_(format) {}

  // What the line asks for, ending with a newline; empty for an empty line. kBadInput: no such
  // command, actor, node or key, with the nearest one; other errors are those of `ask`.
  [[nodiscard]] Result<std::string> run(const std::string& line) const;

  struct Completion {
    std::string begun;               // the end of the line
    std::vector<std::string> words;  // what may stand in its place
  };
  // Whether the line asks for what cannot be taken back.
  static bool is_dangerous(const std::string& line);
  // The node of the log that `name` means: itself, or the only one where it is empty. kBadInput.
  [[nodiscard]] Result<std::string> log_named(const std::string& name) const;

  // Commands, or the names of actors and nodes where a command takes one. Asks the head for those.
  Completion complete(const std::string& line) const;

 private:
  using Words = std::vector<std::string>;
  struct Command {
    const char* name;
    const char* usage;    // what follows the name
    const char* summary;  // a line
    const char* details;  // more, with an example
    Result<std::string> (Console::*carry_out)(const Words& words) const;
    size_t most_words;  // behind the name; where it is one, all that follows is that word
    // What completes the word behind the name; null: nothing does.
    std::vector<std::string> (Console::*known)() const;
    bool dangerous = false;
  };
  static const std::vector<Command>& commands();
  [[nodiscard]] static Result<const Command*> command(const std::string& name);

  Result<std::string> help(const Words& words) const;
  Result<std::string> nodes(const Words& words) const;
  Result<std::string> actors(const Words& words) const;
  Result<std::string> waits(const Words& words) const;
  Result<std::string> why(const Words& words) const;
  // That change what the run does (console_steer.cpp).
  Result<std::string> drain(const Words& words) const;
  Result<std::string> pause(const Words& words) const;
  Result<std::string> resume(const Words& words) const;
  Result<std::string> checkpoint(const Words& words) const;
  Result<std::string> evaluate(const Words& words) const;
  Result<std::string> stop(const Words& words) const;
  Result<std::string> order(const RunOrder& order, const char* done) const;
  // Of the run's folder (console_folder.cpp).
  Result<std::string> ledger(const Words& words) const;
  Result<std::string> lineage(const Words& words) const;
  Result<std::string> metrics(const Words& words) const;
  Result<std::string> config(const Words& words) const;
  Result<std::string> log(const Words& words) const;
  // Of the past (console_history.cpp).
  Result<std::string> events(const Words& words) const;
  Result<std::string> show(const Words& words) const;

  std::vector<std::string> command_names() const;
  std::vector<std::string> actor_names() const;
  std::vector<std::string> node_names() const;
  std::vector<std::string> metric_names() const;
  std::vector<std::string> key_names() const;
  std::vector<std::string> log_names() const;
  std::vector<std::string> event_kinds() const;

  // A table whose rows may stand out, as the format allows.
  enum class Tone : uint8_t { kPlain, kHead, kWarn, kBad };
  std::string table(const std::vector<std::vector<std::string>>& rows,
                    const std::vector<Tone>& tones) const;

  Ask ask_;
  RunView view_;
  Format format_;
};

}  // namespace tracewise
