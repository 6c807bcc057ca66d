#include "transport/openssl.hpp"

#include <openssl/err.h>

namespace tracewise {

std::string take_openssl_error() {
  const unsigned long code = ERR_peek_error();
  const char* reason = code == 0 ? nullptr : ERR_reason_error_string(code);
  ERR_clear_error();
  return reason != nullptr ? reason : "unknown reason";
}

}  // namespace tracewise
