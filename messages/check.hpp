// Our own bugs: a broken invariant prints one line with its place and stops the process.
#pragma once

#include <string>

namespace tracewise {

[[noreturn]] void check_failed(const char* file, int line, const char* condition,
                               const std::string& message);

}  // namespace tracewise

#define TW_CHECK(condition, message)                                        \
  do {                                                                      \
    if (!(condition)) [[unlikely]] {                                        \
      ::tracewise::check_failed(__FILE__, __LINE__, #condition, (message)); \
    }                                                                       \
  } while (false)
