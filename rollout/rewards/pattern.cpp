#include "rollout/rewards/pattern.hpp"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

namespace tracewise {
namespace {

// Steps of one match; PCRE2 does some ten million in a second.
constexpr uint32_t kMaxSteps = 1'000'000;
constexpr uint32_t kMaxHeapKib = 16 * 1024;

template <auto Free>
struct Freed {
  template <class T>
  void operator()(T* what) const {
    Free(what);
  }
};

std::string message_of(int code) {
  PCRE2_UCHAR text[256] = {};
  pcre2_get_error_message(code, text, sizeof text);
  return reinterpret_cast<const char*>(text);
}

}  // namespace

struct Pattern::Code {
  std::unique_ptr<pcre2_code, Freed<pcre2_code_free>> code;
  std::unique_ptr<pcre2_match_context, Freed<pcre2_match_context_free>> limits;
};

Result<Pattern> Pattern::make(const std::string& text) {
  int error = 0;
  PCRE2_SIZE place = 0;
  auto code = std::make_shared<Code>();
  code->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(),
                                 PCRE2_UTF | PCRE2_MATCH_INVALID_UTF | PCRE2_NEVER_BACKSLASH_C,
                                 &error, &place, nullptr));
  if (!code->code) {
    return bad_input("the pattern \"" + text + "\" is wrong at byte " + std::to_string(place) +
                     ": " + message_of(error));
  }
  code->limits.reset(pcre2_match_context_create(nullptr));
  TW_CHECK(code->limits != nullptr, "PCRE2 makes a match context");
  pcre2_set_match_limit(code->limits.get(), kMaxSteps);
  pcre2_set_heap_limit(code->limits.get(), kMaxHeapKib);
  return Pattern(std::move(code));
}

Result<bool> Pattern::matches(std::string_view text) const {
  const std::unique_ptr<pcre2_match_data, Freed<pcre2_match_data_free>> data(
      pcre2_match_data_create_from_pattern(code_->code.get(), nullptr));
  TW_CHECK(data != nullptr, "PCRE2 makes match data");
  const int found = pcre2_match(code_->code.get(), reinterpret_cast<PCRE2_SPTR>(text.data()),
                                text.size(), 0, 0, data.get(), code_->limits.get());
  if (found >= 0) return true;
  if (found == PCRE2_ERROR_NOMATCH) return false;
  return Error{ErrorClass::kResource, "the pattern was given up: " + message_of(found)};
}

}  // namespace tracewise
