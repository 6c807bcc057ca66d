#include "rollout/rewards/choice.hpp"

#include <algorithm>
#include <array>

#include "rollout/answer_text.hpp"
#include "rollout/math/final_answer.hpp"

namespace tracewise {
namespace {

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
char upper(char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; }
bool is_word(char c) { return is_letter(c) || (c >= '0' && c <= '9'); }

// Without what dresses a letter.
std::string_view undressed(std::string_view text) {
  constexpr auto kDress = std::to_array<std::string_view>(
      {"\\text{", "\\textbf{", "\\mathrm{", "\\mathbf{", "\\textrm{", "{", "$", "*", "\\(",
       "\\left", " ", "option ", "Option ", "choice "});
  for (bool changed = true; changed;) {
    changed = false;
    for (const std::string_view dress : kDress) {
      if (!text.starts_with(dress)) continue;
      text.remove_prefix(dress.size());
      changed = true;
    }
  }
  return text;
}

// Whether nothing but closing signs is left.
bool is_closing(std::string_view text) {
  return text.find_first_not_of("}$*.,:;!)] \t\r\n\\") == std::string_view::npos;
}

// A letter at the text's start that is not the start of a word; `bare`: it may stand alone before
// other words if it is a capital.
std::optional<char> leading_letter(std::string_view text, bool bare) {
  text = undressed(trimmed(text));
  const bool bracket = text.starts_with('(') || text.starts_with('[');
  if (bracket) text = undressed(text.substr(1));
  if (text.empty() || !is_letter(text[0])) return std::nullopt;
  const char letter = text[0];
  text.remove_prefix(1);
  if (text.empty() || is_closing(text)) return upper(letter);
  if (is_word(text[0])) return std::nullopt;
  while (!text.empty() && (text[0] == '}' || text[0] == '*' || text[0] == '$'))
    text.remove_prefix(1);
  const bool label = !text.empty() && (text[0] == ')' || text[0] == '.' || text[0] == ':' ||
                                       text[0] == ']' || text[0] == ',');
  if (bracket ? label : label && text.size() > 1 && text[1] == ' ') return upper(letter);
  return bare && letter == upper(letter) ? std::optional<char>(letter) : std::nullopt;
}

std::optional<char> last_bracketed(std::string_view text) {
  for (size_t at = text.size(); at-- > 2;) {
    if (text[at] == ')' && text[at - 2] == '(' && is_letter(text[at - 1]) &&
        text[at - 1] == upper(text[at - 1])) {
      return text[at - 1];
    }
  }
  return std::nullopt;
}

}  // namespace

std::optional<char> choice_of(std::string_view text) { return leading_letter(text, false); }

std::optional<char> choice_in(std::string_view response) {
  if (const auto box = math::boxed_answer(response)) return choice_of(*box);
  if (const auto rest = math::announced(response)) {
    if (const auto letter = leading_letter(*rest, true)) return letter;
  }
  if (const auto letter = choice_of(response)) return letter;
  if (const auto letter = last_bracketed(response)) return letter;
  for (std::string_view rest = response; !rest.empty();) {
    const size_t end = rest.rfind('\n');
    const std::string_view line = end == rest.npos ? rest : rest.substr(end + 1);
    if (const auto letter = choice_of(line)) return letter;
    rest = end == rest.npos ? std::string_view() : rest.substr(0, end);
  }
  return std::nullopt;
}

}  // namespace tracewise
