#include "launch/run_id.hpp"

#include <xxhash.h>

#include <cstdio>

namespace tracewise {

std::string run_id(const std::string& authority_pem) {
  char text[17];
  std::snprintf(
      text, sizeof text, "%016llx",
      static_cast<unsigned long long>(XXH3_64bits(authority_pem.data(), authority_pem.size())));
  return text;
}

}  // namespace tracewise
