#define CATCH_CONFIG_RUNNER
#include <catch2/catch.hpp>
#include <cstdio>

#include "tests/skip.hpp"

namespace tracewise {

__attribute__((weak)) std::string why_skipped() { return {}; }

}  // namespace tracewise

int main(int argc, char** argv) {
  if (const std::string why = tracewise::why_skipped(); !why.empty()) {
    std::printf("skipped: %s\n", why.c_str());
    return tracewise::kSkipped;
  }
  // Catch counts failures in its exit code; one of them must not look like a skip.
  return Catch::Session().run(argc, argv) == 0 ? 0 : 1;
}
