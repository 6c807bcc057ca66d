#define PCRE2_CODE_UNIT_WIDTH 8
#include "model/tokenizer/pattern.hpp"

#include <pcre2.h>

#include "model/tokenizer/unicode.hpp"

namespace tracewise::tok {
namespace {

constexpr size_t kMaxJitStackBytes = size_t{64} << 20;

std::string message_of(int code) {
  PCRE2_UCHAR text[256] = {};
  pcre2_get_error_message(code, text, sizeof text);
  return reinterpret_cast<const char*>(text);
}

// What a thread matches with; any pattern may use it.
struct Scratch {
  pcre2_match_data* data = pcre2_match_data_create(1, nullptr);
  pcre2_match_context* context = pcre2_match_context_create(nullptr);
  pcre2_jit_stack* stack = pcre2_jit_stack_create(size_t{32} << 10, kMaxJitStackBytes, nullptr);

  Scratch() {
    TW_CHECK(data != nullptr && context != nullptr, "out of memory");
    if (stack != nullptr) pcre2_jit_stack_assign(context, nullptr, stack);
  }
  ~Scratch() {
    pcre2_match_data_free(data);
    pcre2_match_context_free(context);
    pcre2_jit_stack_free(stack);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
};

}  // namespace

struct Pattern::Code {
  pcre2_code* code = nullptr;
  bool jit = false;

  Code() = default;
  ~Code() { pcre2_code_free(code); }
  Code(const Code&) = delete;
  Code& operator=(const Code&) = delete;
};

Result<Pattern> Pattern::regex(const std::string& regex) {
  TW_ASSIGN(const std::string syntax, pcre2_syntax(regex));
  return compile(syntax, regex);
}

Result<Pattern> Pattern::words() {
  const std::string word = rust_word_class();
  return compile("[" + word + "]+|[^" + word + "\\p{White_Space}]+", "\\w+|[^\\w\\s]+");
}

Result<Pattern> Pattern::grapheme() { return compile("\\X", "\\X"); }

Result<Pattern> Pattern::compile(const std::string& syntax, const std::string& shown) {
  int error = 0;
  size_t offset = 0;
  auto code = std::make_shared<Code>();
  // Ruby's ^ and $ are those of a line.
  code->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(syntax.data()), syntax.size(),
                             PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE, &error, &offset, nullptr);
  if (code->code == nullptr) {
    return unsupported("the regular expression \"" + shown +
                       "\" is not supported: " + message_of(error));
  }
  // Without it (no executable memory) matching is slower, not different.
  code->jit = pcre2_jit_compile(code->code, PCRE2_JIT_COMPLETE) == 0;
  Pattern pattern;
  pattern.code_ = std::move(code);
  return pattern;
}

Pattern Pattern::literal(std::string text) {
  Pattern pattern;
  pattern.literal_ = std::move(text);
  return pattern;
}

Result<bool> Pattern::find(std::string_view text, size_t from, Match& found) const {
  if (code_ == nullptr) {
    found.begin = text.find(literal_, from);
    found.end = found.begin + literal_.size();
    return found.begin != std::string_view::npos;
  }
  thread_local const Scratch scratch;
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  const int count = code_->jit ? pcre2_jit_match(code_->code, subject, text.size(), from,
                                                 PCRE2_NO_UTF_CHECK, scratch.data, scratch.context)
                               : pcre2_match(code_->code, subject, text.size(), from,
                                             PCRE2_NO_UTF_CHECK, scratch.data, scratch.context);
  if (count == PCRE2_ERROR_NOMATCH) return false;
  if (count < 0) {
    return Error{ErrorClass::kResource, "a regular expression of the tokenizer gave up on " +
                                            std::to_string(text.size()) +
                                            " bytes of text: " + message_of(count)};
  }
  const size_t* ends = pcre2_get_ovector_pointer(scratch.data);
  found.begin = ends[0];
  found.end = ends[1];
  return true;
}

Result<void> Pattern::cut(std::string_view text, std::vector<Match>& cuts) const {
  size_t covered = 0;
  size_t last_end = std::string_view::npos;
  for (size_t from = 0; from <= text.size();) {
    Match match{0, 0, true};
    TW_ASSIGN(const bool found, find(text, from, match));
    if (!found) break;
    if (match.begin == match.end && match.begin == last_end) {
      // An empty match right behind another match is passed over.
      from += from < text.size() ? utf8_length(text[from]) : 1;
      continue;
    }
    if (match.begin > covered) cuts.push_back({covered, match.begin, false});
    cuts.push_back(match);
    covered = from = last_end = match.end;
  }
  if (covered < text.size()) cuts.push_back({covered, text.size(), false});
  return {};
}

}  // namespace tracewise::tok
