// Runs the built binary and keeps what it said.
#pragma once

#include <sys/wait.h>

#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include "tests/temp_dir.hpp"

namespace tracewise {

struct Finished {
  int exit_code = -1;  // -1: ended by a signal
  std::string out;
  std::string err;
};

// `tracewise args...` with `input` on its standard input. Quotes each word for the shell.
inline Finished run_tracewise(const std::vector<std::string>& args, const std::string& input = "") {
  TempDir dir;
  const auto quoted = [](const std::string& word) {
    std::string out = "'";
    for (const char c : word) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
    return out + "'";
  };
  std::string command = quoted(TRACEWISE_BINARY);
  for (const auto& arg : args) command += " " + quoted(arg);
  command += " <" + quoted(dir.put("in", input).string());
  command += " >" + quoted((dir / "out").string());
  command += " 2>" + quoted((dir / "err").string());
  const int status = std::system(command.c_str());
  Finished out;
  if (WIFEXITED(status)) out.exit_code = WEXITSTATUS(status);
  out.out = slurp(dir / "out");
  out.err = slurp(dir / "err");
  return out;
}

}  // namespace tracewise
