#include "rollout/math/final_answer.hpp"

#include <algorithm>
#include <array>
#include <optional>

#include "rollout/answer_text.hpp"
#include "rollout/math/node.hpp"
#include "rollout/math/parser.hpp"

namespace tracewise::math {
namespace {

constexpr auto kNone = std::string_view::npos;
constexpr size_t kMaxBoxes = 16;
// A line that is longer is no bare answer.
constexpr size_t kMaxBareLine = 200;

bool is_digit(char c) { return c >= '0' && c <= '9'; }

struct Span {
  size_t begin = 0;
  size_t end = 0;  // of what the text in it is taken from
  std::string_view text;
};

// The brace that closes the one at `open`, or kNone.
size_t closing_brace(std::string_view text, size_t open) {
  int depth = 0;
  for (size_t at = open; at < text.size(); ++at) {
    if (text[at] == '\\') {
      ++at;
    } else if (text[at] == '{') {
      ++depth;
    } else if (text[at] == '}' && --depth == 0) {
      return at;
    }
  }
  return kNone;
}

// The box whose command ends at `at`.
Span box_at(std::string_view text, size_t begin, size_t at) {
  while (at < text.size() && (text[at] == ' ' || text[at] == '\n')) ++at;
  if (at < text.size() && text[at] == '{') {
    const size_t close = closing_brace(text, at);
    if (close != kNone) return {begin, close + 1, trimmed(text.substr(at + 1, close - at - 1))};
    // It was cut off.
    const size_t end = std::min(text.find_first_of("\n$", at), text.size());
    return {begin, end, trimmed(text.substr(at + 1, end - at - 1))};
  }
  const size_t end = std::min(text.find_first_of(" \n$,;", at), text.size());
  std::string_view bare = text.substr(at, end - at);
  if (bare.ends_with('.')) bare.remove_suffix(1);
  return {begin, end, bare};
}

// The last box of the text; nullopt if it has none.
std::optional<Span> last_box(std::string_view text) {
  const size_t boxed = text.rfind("\\boxed"), fbox = text.rfind("\\fbox");
  if (boxed == kNone && fbox == kNone) return std::nullopt;
  const bool is_boxed = fbox == kNone || (boxed != kNone && boxed > fbox);
  return is_boxed ? box_at(text, boxed, boxed + 6) : box_at(text, fbox, fbox + 5);
}

// Whether there is a comma or an "and" between two boxes, and nothing else.
bool is_separator(std::string_view text) {
  bool separator = false;
  for (size_t at = 0; at < text.size();) {
    constexpr auto kBlanks = std::to_array<std::string_view>(
        {"\\text", "\\(", "\\)", "\\[", "\\]", "$", "{", "}", " ", "\n", "\\quad", "\\ "});
    constexpr auto kSeparators = std::to_array<std::string_view>({",", ";", "and", "or"});
    const auto starts = [&](std::string_view s) { return text.substr(at).starts_with(s); };
    if (const auto s = std::ranges::find_if(kSeparators, starts); s != kSeparators.end()) {
      at += s->size();
      separator = true;
    } else if (const auto b = std::ranges::find_if(kBlanks, starts); b != kBlanks.end()) {
      at += b->size();
    } else {
      return false;
    }
  }
  return separator;
}

// Words among numbers are a sentence, no answer.
bool is_sentence(const Node& node) {
  if (node.kind == NodeKind::kMultiply &&
      std::ranges::any_of(node.args, [](const Node& a) { return a.kind == NodeKind::kWord; })) {
    return true;
  }
  return std::ranges::any_of(node.args, is_sentence);
}

bool reads_as_answer(std::string_view text) {
  const auto node = parse_answer(text);
  return node.ok() && !is_sentence(*node);
}

// The last $...$, $$...$$, \(...\) or \[...\].
std::optional<Span> last_formula(std::string_view text) {
  std::optional<Span> last;
  size_t open = kNone;
  char closes = 0;
  for (size_t at = 0; at < text.size(); ++at) {
    size_t width = 0;
    char sign = 0;
    if (text[at] == '$') {
      sign = '$';
      width = at + 1 < text.size() && text[at + 1] == '$' ? 2 : 1;
    } else if (text[at] == '\\' && at + 1 < text.size()) {
      const char next = text[at + 1];
      width = 2;
      if (next == '(' || next == ')' || next == '[' || next == ']') sign = next;
    } else {
      continue;
    }
    if (open != kNone && sign == closes) {
      const std::string_view inside = trimmed(text.substr(open, at - open));
      if (!inside.empty()) last = Span{open, at + width, inside};
      open = kNone;
    } else if (open == kNone && (sign == '$' || sign == '(' || sign == '[')) {
      open = at + width;
      closes = sign == '$' ? '$' : sign == '(' ? ')' : ']';
    }
    at += width - 1;
  }
  return last;
}

// The last number with its sign, separators, fraction bar and percent sign.
std::optional<Span> last_number(std::string_view text) {
  size_t end = text.size();
  while (end > 0 && !is_digit(text[end - 1])) --end;
  if (end == 0) return std::nullopt;
  size_t begin = end;
  while (begin > 0 &&
         (is_digit(text[begin - 1]) || std::string_view(".,/").find(text[begin - 1]) != kNone)) {
    --begin;
  }
  while (!is_digit(text[begin]) && text[begin] != '.') ++begin;
  const bool sign = begin > 0 && text[begin - 1] == '-' &&
                    (begin == 1 || std::string_view(" $(=:\n*").find(text[begin - 2]) != kNone);
  if (sign) --begin;
  if (end < text.size() && text[end] == '%') ++end;
  return Span{begin, end, text.substr(begin, end - begin)};
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return out;
}

std::string_view first_sentence(std::string_view text) {
  const size_t end = std::min(text.find(". "), text.find('\n'));
  return trimmed(text.substr(0, end));
}

std::optional<std::string> announced_answer(std::string_view text) {
  const auto rest = announced(text);
  if (!rest || rest->empty()) return std::nullopt;
  // A display formula may begin on a line of its own.
  const bool display = rest->starts_with("$$") || rest->starts_with("\\[");
  if (display) {
    const size_t end = rest->find(rest->starts_with("$$") ? "$$" : "\\]", 2);
    return std::string(trimmed(rest->substr(2, end == kNone ? kNone : end - 2)));
  }
  const std::string_view sentence = first_sentence(*rest);
  if (reads_as_answer(sentence)) return std::string(sentence);
  if (const auto formula = last_formula(sentence)) return std::string(formula->text);
  if (const auto number = last_number(sentence)) return std::string(number->text);
  return std::nullopt;
}

}  // namespace

std::optional<std::string> boxed_answer(std::string_view text) {
  auto box = last_box(text);
  if (!box) return std::nullopt;
  std::string answer(box->text);
  for (size_t boxes = 1; boxes < kMaxBoxes; ++boxes) {
    const size_t begin = box->begin;
    box = last_box(text.substr(0, begin));
    if (!box || !is_separator(text.substr(box->end, begin - box->end))) break;
    answer = std::string(box->text) + ", " + answer;
  }
  return answer;
}

// What follows the last phrase that announces an answer.
std::optional<std::string_view> announced(std::string_view text) {
  constexpr auto kPhrases = std::to_array<std::string_view>(
      {"answer is", "answer:", "answer**:", "answers are", "answer are", "####", "answer ="});
  const std::string folded = lower(text);
  size_t best = 0;
  for (const std::string_view phrase : kPhrases) {
    const size_t at = folded.rfind(phrase);
    if (at != kNone) best = std::max(best, at + phrase.size());
  }
  if (best == 0) return std::nullopt;
  text.remove_prefix(best);
  text.remove_prefix(std::min(text.find_first_not_of(": \n\t*"), text.size()));
  return text;
}

std::string final_answer(std::string_view response) {
  if (auto answer = boxed_answer(response)) return *answer;
  if (auto answer = announced_answer(response)) return *answer;
  const std::string_view whole = trimmed(response);
  if (whole.size() <= kMaxBareLine && whole.find('\n') == kNone && reads_as_answer(whole))
    return std::string(whole);
  const auto formula = last_formula(response);
  const auto number = last_number(response);
  if (formula && (!number || formula->end > number->begin)) return std::string(formula->text);
  return number ? std::string(number->text) : std::string();
}

}  // namespace tracewise::math
