// A line editor on a terminal: history, search and completion, by libedit.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "messages/result.hpp"

namespace tracewise {

class Terminal {
 public:
  // What stands at the end of a line, and what may stand in its place.
  struct Completion {
    std::string begun;
    std::vector<std::string> words;
  };
  using Complete = std::function<Completion(const std::string& line)>;

  // `history`: a file of earlier lines, which is read now and written after each line; what cannot
  // be read or written is done without. kResource: libedit refuses the terminal.
  [[nodiscard]] static Result<std::unique_ptr<Terminal>> open(std::string prompt,
                                                              std::filesystem::path history,
                                                              Complete complete);
  ~Terminal();
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  // The next line without its end; none: the input has ended, or Ctrl-D. Blocks.
  std::optional<std::string> line();

 private:
  class Impl;
  explicit Terminal(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace tracewise
