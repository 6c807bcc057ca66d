#include "rollout/math/lexer.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "rollout/answer_text.hpp"

namespace tracewise::math {
namespace {

using Spelling = std::pair<std::string_view, std::string_view>;

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '~'; }

constexpr std::array kUnicode = std::to_array<Spelling>({
    {"−", "-"},
    {"–", "-"},
    {"—", "-"},
    {"×", "\\times "},
    {"·", "\\cdot "},
    {"⋅", "\\cdot "},
    {"∙", "\\cdot "},
    {"÷", "/"},
    {"∕", "/"},
    {"⁄", "/"},
    {"√", " sqrt "},
    {"π", "\\pi "},
    {"∞", "\\infty "},
    {"°", "^{\\circ}"},
    {"≤", "\\le "},
    {"≥", "\\ge "},
    {"⩽", "\\le "},
    {"⩾", "\\ge "},
    {"≠", "\\ne "},
    {"≈", "\\approx "},
    {"∪", "\\cup "},
    {"∩", "\\cap "},
    {"∖", "\\setminus "},
    {"∈", "\\in "},
    {"±", "\\pm "},
    {"∓", "\\mp "},
    {"∅", "\\emptyset "},
    {"ℝ", "\\mathbb{R}"},
    {"ℤ", "\\mathbb{Z}"},
    {"θ", "\\theta "},
    {"α", "\\alpha "},
    {"β", "\\beta "},
    {"γ", "\\gamma "},
    {"λ", "\\lambda "},
    {"φ", "\\phi "},
    {"ω", "\\omega "},
    {"½", "\\frac{1}{2}"},
    {"⅓", "\\frac{1}{3}"},
    {"⅔", "\\frac{2}{3}"},
    {"¼", "\\frac{1}{4}"},
    {"¾", "\\frac{3}{4}"},
    {"⅕", "\\frac{1}{5}"},
    {"⅛", "\\frac{1}{8}"},
    {"⅜", "\\frac{3}{8}"},
    {"⅝", "\\frac{5}{8}"},
    {"⅞", "\\frac{7}{8}"},
    {"€", "\\$"},
    {"£", "\\$"},
    {"¥", "\\$"},
    {"₹", "\\$"},
    {"“", ""},
    {"”", ""},
    {"‘", "'"},
    {"’", "'"},
    {"′", "'"},
    {"\xc2\xa0", " "},
    {"\xe2\x80\xaf", " "},
    {"\xe2\x80\x89", " "},
    {"，", ","},
    {"（", "("},
    {"）", ")"},
    {"。", "."},
    {"％", "%"},
    {"∣", "|"},
});

constexpr std::array<std::string_view, 11> kSuperscripts = {"⁰", "¹", "²", "³", "⁴", "⁵",
                                                            "⁶", "⁷", "⁸", "⁹", "⁻"};

// The superscript at the text's start: what it stands for and its bytes; {0, 0} if there is none.
std::pair<char, size_t> superscript_at(std::string_view text) {
  for (size_t i = 0; i < kSuperscripts.size(); ++i) {
    if (text.starts_with(kSuperscripts[i]))
      return {i < 10 ? static_cast<char>('0' + i) : '-', kSuperscripts[i].size()};
  }
  return {0, 0};
}

// Commands that say how something looks, not what it is.
constexpr std::array kLooks = std::to_array<std::string_view>(
    {"left",        "right",    "middle",       "big",     "Big",       "bigg",  "Bigg",
     "bigl",        "bigr",     "Bigl",         "Bigr",    "biggl",     "biggr", "displaystyle",
     "textstyle",   "limits",   "quad",         "qquad",   "hspace",    "hline", "mleft",
     "mright",      "nolimits", "rm",           "bf",      "it",        "large", "Large",
     "scriptstyle", "phantom",  "negthinspace", "enspace", "thinspace", "cdotp"});

constexpr std::array kTexts = std::to_array<std::string_view>(
    {"text",    "textbf",     "textit", "textrm",        "textnormal", "texttt",
     "textsf",  "mathrm",     "mathbf", "mathit",        "mathsf",     "mathtt",
     "mathcal", "boldsymbol", "bm",     "mbox",          "hbox",       "operatorname",
     "emph",    "pmb",        "bold",   "operatorname*", "underline",  "vec",
     "hat",     "unit"});

constexpr std::array kSpellings = std::to_array<Spelling>({{"dfrac", "frac"},
                                                           {"tfrac", "frac"},
                                                           {"cfrac", "frac"},
                                                           {"leq", "le"},
                                                           {"leqslant", "le"},
                                                           {"geq", "ge"},
                                                           {"geqslant", "ge"},
                                                           {"neq", "ne"},
                                                           {"times", "cdot"},
                                                           {"ast", "cdot"},
                                                           {"div", "/"},
                                                           {"dbinom", "binom"},
                                                           {"tbinom", "binom"},
                                                           {"varnothing", "emptyset"},
                                                           {"lbrace", "{"},
                                                           {"rbrace", "}"},
                                                           {"vert", "|"},
                                                           {"lvert", "|"},
                                                           {"rvert", "|"},
                                                           {"mid", "|"},
                                                           {"lt", "<"},
                                                           {"gt", ">"},
                                                           {"sim", "approx"},
                                                           {"simeq", "approx"},
                                                           {"backslash", "setminus"},
                                                           {"bar", "overline"},
                                                           {"land", "and"},
                                                           {"lor", "or"},
                                                           {"wedge", "and"},
                                                           {"vee", "or"},
                                                           {"degree", "circ"},
                                                           {"colon", ":"},
                                                           {"lbrack", "["},
                                                           {"rbrack", "]"},
                                                           {"lparen", "("},
                                                           {"rparen", ")"},
                                                           {"fbox", "boxed"},
                                                           {"varphi", "phi"},
                                                           {"varepsilon", "epsilon"},
                                                           {"dots", "ldots"},
                                                           {"cdots", "ldots"},
                                                           {"pounds", "$"},
                                                           {"euro", "$"}});

// What \text{} holds, with blanks for ~ and "\ " and their like.
std::string without_spacing(std::string_view inside) {
  std::string out;
  for (size_t i = 0; i < inside.size(); ++i) {
    const bool spacing = inside[i] == '\\' && i + 1 < inside.size() &&
                         std::string_view(" ,;:!").find(inside[i + 1]) != std::string_view::npos;
    out += spacing || inside[i] == '~' ? ' ' : inside[i];
    if (spacing) ++i;
  }
  return std::string(trimmed(out));
}

template <class List>
bool holds(const List& list, std::string_view name) {
  return std::ranges::find(list, name) != list.end();
}

}  // namespace

std::string spelled_in_latex(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    if (static_cast<unsigned char>(text[0]) < 0x80) {
      out += text[0];
      text.remove_prefix(1);
      continue;
    }
    if (superscript_at(text).second > 0) {
      out += "^{";
      for (auto s = superscript_at(text); s.second > 0; s = superscript_at(text)) {
        out += s.first;
        text.remove_prefix(s.second);
      }
      out += '}';
      continue;
    }
    const auto sign = std::ranges::find_if(
        kUnicode, [&](const Spelling& spelling) { return text.starts_with(spelling.first); });
    if (sign != kUnicode.end()) {
      out += sign->second;
      text.remove_prefix(sign->first.size());
    } else {
      out += text[0];
      text.remove_prefix(1);
    }
  }
  return out;
}

bool Lexer::skip_blanks() {
  const size_t begin = at_;
  while (at_ < text_.size()) {
    const std::string_view rest = text_.substr(at_);
    if (is_blank(rest[0]) || rest[0] == '$' || rest[0] == '"') {
      ++at_;
    } else if (rest.size() > 1 && rest[0] == '\\' &&
               std::string_view(",;:! ()[]>\n").find(rest[1]) != std::string_view::npos) {
      at_ += 2;
    } else if (rest.starts_with("**") && rest.find_first_not_of("*. \n") == rest.npos) {
      at_ = text_.size();  // the end of **bold**
    } else {
      break;
    }
  }
  return at_ > begin;
}

// End of what parts two groups of three digits, or `at`.
size_t Lexer::separator_end(size_t at, bool commas) const {
  constexpr std::array kAlways =
      std::to_array<std::string_view>({"{,}", ",\\!", "\\,", "\\!,\\!", "\\!", "\\ "});
  const std::string_view rest = text_.substr(at);
  size_t end = at;
  for (const std::string_view separator : kAlways)
    if (rest.starts_with(separator)) end = at + separator.size();
  if (end == at && commas && !rest.empty() && (rest[0] == ',' || rest[0] == ' ')) end = at + 1;
  if (end == at) return at;
  size_t digits = end;
  while (digits < text_.size() && is_digit(text_[digits])) ++digits;
  const bool fraction = digits < text_.size() && text_[digits] == '/';
  return digits == end + 3 && !fraction ? end : at;
}

Token Lexer::number(size_t begin, bool commas) {
  Token token{TokenKind::kNumber, {}, begin, 0, false};
  const auto digits = [&] {
    while (at_ < text_.size() && is_digit(text_[at_])) token.text += text_[at_++];
  };
  digits();
  const bool groups = !token.text.empty() && token.text.size() <= 3 && token.text[0] != '0';
  if (groups) {
    for (size_t end = separator_end(at_, commas); end > at_; end = separator_end(at_, commas)) {
      at_ = end;
      digits();
    }
  }
  if (at_ < text_.size() && text_[at_] == '.') {
    const std::string_view rest = text_.substr(at_ + 1);
    const bool repeats = rest.starts_with("\\overline") || rest.starts_with("\\bar");
    if (repeats || (!rest.empty() && is_digit(rest[0]))) {
      token.text += text_[at_++];
      digits();
    } else if (rest.empty() || is_blank(rest[0]) || rest[0] == '\\' || rest[0] == '$') {
      ++at_;  // the end of a sentence
    }
  }
  if (at_ < text_.size() && (text_[at_] == 'e' || text_[at_] == 'E')) {
    size_t exponent = at_ + 1;
    if (exponent < text_.size() && (text_[exponent] == '-' || text_[exponent] == '+')) ++exponent;
    size_t end = exponent;
    while (end < text_.size() && is_digit(text_[end])) ++end;
    if (end > exponent && (end == text_.size() || !is_letter(text_[end]))) {
      token.text += text_.substr(at_, end - at_);
      at_ = end;
    }
  }
  token.end = at_;
  return token;
}

bool Lexer::braced(std::string_view* inside) {
  skip_blanks();
  if (at_ >= text_.size() || text_[at_] != '{') return false;
  int depth = 0;
  for (size_t i = at_; i < text_.size(); ++i) {
    if (text_[i] == '\\') {
      ++i;
    } else if (text_[i] == '{') {
      ++depth;
    } else if (text_[i] == '}' && --depth == 0) {
      *inside = text_.substr(at_ + 1, i - at_ - 1);
      at_ = i + 1;
      return true;
    }
  }
  return false;
}

Token Lexer::command(size_t begin) {
  ++at_;
  Token token{TokenKind::kCommand, {}, begin, 0, false};
  while (at_ < text_.size() && is_letter(text_[at_])) token.text += text_[at_++];
  if (token.text.empty() && at_ < text_.size()) token.text = text_[at_++];
  if (token.text == "%" || token.text == "&" || token.text == "#" || token.text == "_")
    token.kind = TokenKind::kSymbol;
  if (holds(kTexts, token.text)) {
    std::string_view inside;
    if (braced(&inside)) {
      token.kind = TokenKind::kText;
      token.text = without_spacing(inside);
    }
  } else {
    const auto spelling = std::ranges::find(kSpellings, token.text, &Spelling::first);
    if (spelling != kSpellings.end()) token.text = spelling->second;
    constexpr std::string_view kSymbols = "/<>|:[]()";
    if (token.text.size() == 1 && kSymbols.find(token.text[0]) != std::string_view::npos)
      token.kind = TokenKind::kSymbol;
  }
  token.end = at_;
  return token;
}

Token Lexer::next(bool commas) {
  bool spaced = skip_blanks();
  while (at_ < text_.size()) {
    const size_t begin = at_;
    const char c = text_[at_];
    Token token{TokenKind::kSymbol, std::string(1, c), begin, begin + 1, false};
    const bool point = c == '.' && begin + 1 < text_.size() && is_digit(text_[begin + 1]);
    if (is_digit(c) || point) {
      token = number(begin, commas);
    } else if (c == '\\' && begin + 1 < text_.size()) {
      token = command(begin);
      if (token.kind == TokenKind::kCommand && holds(kLooks, token.text)) {
        const bool side = token.text == "left" || token.text == "right";
        if (side && at_ < text_.size() && text_[at_] == '.') ++at_;  // \left. is no bracket
        skip_blanks();
        spaced = true;
        continue;
      }
    } else if (is_letter(c)) {
      size_t end = begin;
      while (end < text_.size() && is_letter(text_[end])) ++end;
      token = {TokenKind::kLetters, std::string(text_.substr(begin, end - begin)), begin, end,
               false};
      at_ = end;
    } else if (text_.substr(begin).starts_with("**")) {
      token = {TokenKind::kSymbol, "^", begin, begin + 2, false};
      at_ += 2;
    } else if (c == '.' && trimmed(text_.substr(begin + 1)).empty()) {
      break;
    } else {
      ++at_;
    }
    token.spaced = spaced;
    return token;
  }
  at_ = text_.size();
  return {TokenKind::kEnd, {}, at_, at_, spaced};
}

bool Lexer::next_digit(char* digit) {
  skip_blanks();
  if (at_ >= text_.size() || !is_digit(text_[at_])) return false;
  *digit = text_[at_++];
  return true;
}

}  // namespace tracewise::math
