// How people and programs read a failure's class.
#pragma once

#include "messages/records.hpp"

namespace tracewise {

// "verifier_timeout"; "none" of kNone.
constexpr const char* failure_name(FailureClass failure) {
  switch (failure) {
    case FailureClass::kNone:
      return "none";
    case FailureClass::kPromptTooLong:
      return "prompt_too_long";
    case FailureClass::kEngine:
      return "engine";
    case FailureClass::kVerifierError:
      return "verifier_error";
    case FailureClass::kVerifierTimeout:
      return "verifier_timeout";
    case FailureClass::kProbe:
      return "probe";
    case FailureClass::kCancelled:
      return "cancelled";
  }
  return "unknown";
}

}  // namespace tracewise
