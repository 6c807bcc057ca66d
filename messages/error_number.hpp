// Errors that travel as a number and a sentence.
#pragma once

#include <string>
#include <utility>

#include "messages/result.hpp"

namespace tracewise {

// The error whose class has `number`; one that this build doesn't know is kInternal.
inline Error error_of(int number, std::string message) {
  const bool known = number >= 0 && number <= static_cast<int>(ErrorClass::kInternal);
  return {known ? static_cast<ErrorClass>(number) : ErrorClass::kInternal, std::move(message)};
}

}  // namespace tracewise
