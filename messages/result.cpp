#include "messages/result.hpp"

#include <cstdio>
#include <cstdlib>

namespace tracewise {

void check_failed(const char* file, int line, const char* condition, const std::string& message) {
  std::fprintf(stderr, "%s:%d: this is a bug in tracewise: %s (%s)\n", file, line, message.c_str(),
               condition);
  std::fflush(stderr);
  std::abort();
}

const char* to_string(ErrorClass error_class) {
  switch (error_class) {
    case ErrorClass::kBadInput:
      return "bad_input";
    case ErrorClass::kUnsupported:
      return "unsupported";
    case ErrorClass::kIo:
      return "io";
    case ErrorClass::kCorrupt:
      return "corrupt";
    case ErrorClass::kDeadline:
      return "deadline";
    case ErrorClass::kResource:
      return "resource";
    case ErrorClass::kCancelled:
      return "cancelled";
    case ErrorClass::kInternal:
      return "internal";
  }
  return "unknown";
}

}  // namespace tracewise
