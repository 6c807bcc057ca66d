// The words of a mathematical answer, as LaTeX or as plain text writes it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace tracewise::math {

enum class TokenKind : uint8_t {
  kEnd,
  kNumber,   // text: digits without separators, perhaps a point, perhaps e and an exponent
  kLetters,  // text: a run of ASCII letters
  kCommand,  // text: a command's name, "frac"; of several spellings the first ("dfrac" is frac)
  kText,     // text: what stands inside \text{}, \mathrm{} and their like, trimmed
  kSymbol,   // text: one byte
};

struct Token {
  TokenKind kind = TokenKind::kEnd;
  std::string text;
  size_t begin = 0;  // offsets in the lexer's text
  size_t end = 0;
  bool spaced = false;  // a blank stands before it

  bool is(TokenKind k, std::string_view t) const { return kind == k && text == t; }
  bool symbol(char c) const { return kind == TokenKind::kSymbol && text[0] == c; }
  bool command(std::string_view name) const { return is(TokenKind::kCommand, name); }
};

// Unicode's mathematical signs as LaTeX spells them: "½" is \frac{1}{2}, "√" is \sqrt, "x²" is
// x^{2}. What has no spelling stays.
std::string spelled_in_latex(std::string_view text);

// Reads tokens one by one; blanks, sizes (\left, \big) and spacing (\, \! ~) are passed over. A
// copy is a bookmark. The text must outlive it.
class Lexer {
 public:
  explicit Lexer(std::string_view text) : text_(text) {}

  // `commas`: 1,234 is one number. Inside brackets it is two.
  Token next(bool commas);

  // A single digit, if one comes next: \frac12 has the arguments 1 and 2.
  bool next_digit(char* digit);

  void rewind(size_t to) { at_ = to; }

  // What stands inside the braces that come next, which are then behind; false: there are none, or
  // they don't close.
  bool braced(std::string_view* inside);

 private:
  bool skip_blanks();
  Token number(size_t begin, bool commas);
  Token command(size_t begin);
  size_t separator_end(size_t at, bool commas) const;

  std::string_view text_;
  size_t at_ = 0;
};

}  // namespace tracewise::math
