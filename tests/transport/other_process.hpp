// The test's own binary once more, as another process of it.
#pragma once

#include <catch2/catch.hpp>
#include <iostream>
#include <string>

#include "tests/process.hpp"
#include "tests/transport/run_of_nodes.hpp"

namespace tracewise {

// The process that the hidden test case `name` is; `input` on its standard input.
struct OtherProcess {
  OtherProcess(const std::string& name, const std::string& input)
      : process({"/proc/self/exe", name}, dir / "other", dir.put("in", input).string()) {}

  // What it said at the `number`th time, counted from 0, once it has.
  std::string line(size_t number = 0, int limit_ms = 10000) {
    const TimePoint limit = in_ms(limit_ms);
    std::string found;
    while (!find(number, found)) {
      INFO(process.err());
      REQUIRE(std::chrono::steady_clock::now() < limit);
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return found;
  }
  void kill() {
    process.signal(SIGKILL);
    CHECK(process.wait() == 128 + SIGKILL);
  }

  TempDir dir;
  Process process;

 private:
  bool find(size_t number, std::string& found) const {
    const std::string out = process.out();
    size_t start = 0;
    for (size_t i = 0;; ++i) {
      start = out.find("tracewise:", start);
      const size_t end = out.find('\n', start);
      if (start == std::string::npos || end == std::string::npos) return false;
      start += 10;
      found = out.substr(start, end - start);
      if (i == number) return true;
    }
  }
};

// In the other process: a line that OtherProcess finds.
inline void say(const std::string& line) { std::cout << "tracewise:" << line << std::endl; }

inline std::string hex(const std::string& bytes) {
  std::string out;
  for (const char c : bytes) {
    out += "0123456789abcdef"[static_cast<unsigned char>(c) >> 4];
    out += "0123456789abcdef"[static_cast<unsigned char>(c) & 15];
  }
  return out;
}
inline std::string unhex(const std::string& text) {
  std::string out;
  for (size_t i = 0; i + 1 < text.size(); i += 2) {
    out += static_cast<char>(std::stoi(text.substr(i, 2), nullptr, 16));
  }
  return out;
}

}  // namespace tracewise
