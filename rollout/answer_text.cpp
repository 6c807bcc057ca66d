#include "rollout/answer_text.hpp"

#include <charconv>
#include <cmath>
#include <string>

namespace tracewise {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_word(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == ')' || c == ']' ||
         c == '}';
}

// A number and the bytes it takes.
struct Match {
  double value = 0;
  size_t begin = 0;
  size_t end = 0;
  bool fraction = false;
};

size_t digits_end(std::string_view text, size_t at) {
  while (at < text.size() && is_digit(text[at])) ++at;
  return at;
}

// End of "1,234,567" from its first digit, or `at` if the commas don't part groups of three.
size_t grouped_end(std::string_view text, size_t at) {
  size_t end = digits_end(text, at);
  if (end == at || end - at > 3) return at;
  bool grouped = false;
  while (end < text.size() && text[end] == ',' && digits_end(text, end + 1) == end + 4) {
    end += 4;
    grouped = true;
  }
  return grouped ? end : at;
}

// Digits with separators, decimals and exponent, without a sign. `at` points to a digit or a '.'.
std::optional<Match> unsigned_at(std::string_view text, size_t at) {
  const size_t grouped = grouped_end(text, at);
  size_t end = grouped > at ? grouped : digits_end(text, at);
  const bool whole_part = end > at;
  if (end + 1 < text.size() && text[end] == '.' && is_digit(text[end + 1])) {
    end = digits_end(text, end + 1);
  } else if (!whole_part) {
    return std::nullopt;
  }
  if (end < text.size() && (text[end] == 'e' || text[end] == 'E')) {
    size_t exponent = end + 1;
    if (exponent < text.size() && (text[exponent] == '+' || text[exponent] == '-')) ++exponent;
    if (digits_end(text, exponent) > exponent) end = digits_end(text, exponent);
  }
  std::string plain;
  for (const char c : text.substr(at, end - at)) {
    if (c != ',') plain += c;
  }
  Match match{0, at, end, false};
  const auto parsed = std::from_chars(plain.data(), plain.data() + plain.size(), match.value);
  if (parsed.ec != std::errc() || !std::isfinite(match.value)) return std::nullopt;
  return match;
}

// A number that starts at `at` with its sign, currency sign or first digit.
std::optional<Match> number_at(std::string_view text, size_t at) {
  constexpr std::string_view kMinus = "\xe2\x88\x92";  // U+2212
  size_t start = at;
  double sign = 1;
  const bool may_have_sign = at == 0 || !is_word(text[at - 1]);
  if (may_have_sign && (text[start] == '-' || text[start] == '+')) {
    sign = text[start] == '-' ? -1 : 1;
    ++start;
  } else if (may_have_sign && text.substr(start).starts_with(kMinus)) {
    sign = -1;
    start += kMinus.size();
  }
  if (start < text.size() && text[start] == '$') ++start;
  if (start >= text.size() || !(is_digit(text[start]) || text[start] == '.')) return std::nullopt;
  auto match = unsigned_at(text, start);
  if (!match) return std::nullopt;
  match->value *= sign;
  match->begin = at;
  if (match->end < text.size() && text[match->end] == '/') {
    const size_t below = match->end + 1;
    const auto divisor =
        below < text.size() && is_digit(text[below]) ? unsigned_at(text, below) : std::nullopt;
    if (divisor && divisor->value == 0) return std::nullopt;
    if (divisor) *match = {match->value / divisor->value, at, divisor->end, true};
  }
  return match;
}

// The first number at or after `from`.
std::optional<Match> next_number(std::string_view text, size_t from) {
  for (size_t at = from; at < text.size(); ++at) {
    if (auto match = number_at(text, at)) return match;
    // A number that could not be read (1/0, 1e999) is passed over as a whole.
    if (is_digit(text[at])) {
      while (at + 1 < text.size() && (is_digit(text[at + 1]) || text[at + 1] == '/' ||
                                      text[at + 1] == '.' || text[at + 1] == ',')) {
        ++at;
      }
    }
  }
  return std::nullopt;
}

// End of the text inside a brace that was opened before it, or its length.
size_t closing_brace(std::string_view text) {
  int depth = 1;
  for (size_t at = 0; at < text.size(); ++at) {
    if (text[at] == '\\') {
      ++at;  // \{ and \} are text
    } else if (text[at] == '{') {
      ++depth;
    } else if (text[at] == '}' && --depth == 0) {
      return at;
    }
  }
  return text.size();
}

}  // namespace

std::string_view trimmed(std::string_view text) {
  constexpr const char* kBlanks = " \t\r\n\f\v";
  const size_t begin = text.find_first_not_of(kBlanks);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlanks) - begin + 1);
}

std::optional<std::string_view> answer_in(std::string_view text, std::string_view prefix,
                                          std::string_view suffix) {
  const size_t at = prefix.empty() ? 0 : text.rfind(prefix);
  if (at == std::string_view::npos) return std::nullopt;
  text.remove_prefix(at + prefix.size());
  if (suffix == "}" && prefix.ends_with('{')) {
    text = text.substr(0, closing_brace(text));
  } else if (!suffix.empty()) {
    text = text.substr(0, text.find(suffix));
  }
  return trimmed(text);
}

std::optional<double> number_in(std::string_view text, NumberPlace place) {
  auto match = next_number(text, 0);
  if (!match) return std::nullopt;
  while (place == NumberPlace::kLast) {
    const auto next = next_number(text, match->end);
    if (!next) break;
    match = next;
  }
  return match->value;
}

std::optional<double> whole_number_text(std::string_view text) {
  text = trimmed(text);
  if (text.empty()) return std::nullopt;
  const auto match = number_at(text, 0);
  if (!match || match->end != text.size()) return std::nullopt;
  return match->value;
}

std::optional<float> parse_confidence(std::string_view text) {
  const auto match = next_number(text, 0);
  if (!match) return std::nullopt;
  double value = match->value;
  std::string_view rest = text.substr(match->end);
  rest.remove_prefix(std::min(rest.find_first_not_of(' '), rest.size()));
  constexpr std::string_view kOutOf = "out of";
  if (rest.starts_with(kOutOf)) {
    const auto whole = next_number(rest, kOutOf.size());
    if (!whole || whole->value <= 0) return std::nullopt;
    value /= whole->value;
  } else if (rest.starts_with('%') || rest.starts_with("percent") ||
             (value > 1 && !match->fraction)) {
    value /= 100;
  }
  if (!(value >= 0 && value <= 1)) return std::nullopt;
  return static_cast<float>(value);
}

}  // namespace tracewise
