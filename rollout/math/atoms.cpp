#include "rollout/math/atoms.hpp"

#include <algorithm>
#include <array>

#include "rollout/answer_text.hpp"
#include "rollout/math/names.hpp"
#include "rollout/math/parser.hpp"

namespace tracewise::math {
namespace {

// Beyond it a number is written as a power.
constexpr int kMaxExponent = 2000;

bool all_digits(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
}

// Of digits; leading zeros would mean octal to the library.
Integer integer_of(std::string_view digits) {
  digits.remove_prefix(std::min(digits.find_first_not_of('0'), digits.size()));
  return digits.empty() ? Integer(0) : Integer(std::string(digits));
}

Integer ten_to(int exponent) { return boost::multiprecision::pow(Integer(10), exponent); }

// Of a number token's text.
Result<Node> number_of(std::string_view text) {
  const size_t e = std::min(text.find_first_of("eE"), text.size());
  int exponent = 0;
  if (e < text.size()) {
    std::string_view digits = text.substr(e + 1);
    const bool negative = digits[0] == '-';
    if (digits[0] == '-' || digits[0] == '+') digits.remove_prefix(1);
    if (digits.size() > 4) return bad_input("its exponent is too large");
    for (const char c : digits) exponent = exponent * 10 + (c - '0');
    if (exponent > kMaxExponent) return bad_input("its exponent is too large");
    if (negative) exponent = -exponent;
  }
  std::string digits(text.substr(0, e));
  const size_t point = digits.find('.');
  if (point != std::string::npos) {
    exponent -= static_cast<int>(digits.size() - point - 1);
    digits.erase(point, 1);
  }
  Node node = number_node(Rational(integer_of(digits)));
  node.decimal = point != std::string::npos || e < text.size();
  if (exponent > 0) node.number *= Rational(ten_to(exponent));
  if (exponent < 0) node.number /= Rational(ten_to(-exponent));
  return node;
}

bool is_whole(const Node& node) {
  return node.kind == NodeKind::kNumber && !node.decimal && denominator(node.number) == 1;
}

constexpr std::array kWordsForInfinity =
    std::to_array<std::string_view>({"inf", "infinity", "Infinity", "oo"});

constexpr std::array kAtomCommands = std::to_array<std::string_view>({"frac",
                                                                      "sqrt",
                                                                      "binom",
                                                                      "overline",
                                                                      "infty",
                                                                      "begin",
                                                                      "{",
                                                                      "emptyset",
                                                                      "mathbb",
                                                                      "boxed",
                                                                      "lfloor",
                                                                      "lceil",
                                                                      "langle",
                                                                      "$",
                                                                      "angle",
                                                                      "triangle",
                                                                      "overrightarrow",
                                                                      "widehat",
                                                                      "overleftrightarrow",
                                                                      "not"});

}  // namespace

bool Parser::is_known_word(std::string_view letters) {
  // Minutes and seconds are likelier than a minimum or a secant without a backslash.
  if (letters == "min" || letters == "sec") return false;
  return function_of(letters) ||
         std::ranges::find(kWordsForInfinity, letters) != kWordsForInfinity.end() ||
         (letters.size() > 2 ? is_symbol_command(letters) : letters == "pi");
}

bool Parser::starts_atom(const Token& token) const {
  return std::ranges::find(kAtomCommands, token.text) != kAtomCommands.end() ||
         function_of(token.text) || is_symbol_command(token.text);
}

Result<Node> Parser::atom() {
  const Nesting nesting(depth_);
  if (depth_ > kMaxAnswerDepth) return bad_input("it is nested too deeply");
  if (++nodes_ > kMaxAnswerNodes) return bad_input("it is too long");
  const Token& token = peek();
  switch (token.kind) {
    case TokenKind::kNumber:
      return number();
    case TokenKind::kLetters:
      return letters();
    case TokenKind::kText:
      return text();
    case TokenKind::kCommand:
      return command();
    default:
      if (token.symbol('(') || token.symbol('[')) return bracketed();
      if (token.symbol('{')) return braced();
      if (token.symbol('|')) return bars();
      return unexpected();
  }
}

Result<Node> Parser::number() {
  const Token token = take();
  if (token.text.find('.') != std::string::npos && peek().command("overline"))
    return repeating(token.text);
  TW_ASSIGN(Node node, number_of(token.text));
  if (take_symbol('_')) {
    TW_ASSIGN(std::string base, subscript());
    return node_of(NodeKind::kUnit, std::move(node), "base " + base);
  }
  if (node.decimal) return node;
  if (auto part = mixed_part()) return node_of(NodeKind::kAdd, std::move(node), std::move(*part));
  return node;
}

// 0.1\overline{6}
Result<Node> Parser::repeating(const std::string& digits) {
  take();
  std::string_view period;
  if (!lexer_.braced(&period) || !all_digits(trimmed(period)) || digits.find('e') != digits.npos)
    return unexpected();
  period = trimmed(period);
  TW_ASSIGN(Node node, number_of(digits.back() == '.' ? digits + "0" : digits));
  const auto places = static_cast<int>(digits.size() - digits.find('.') - 1);
  const Integer nines = ten_to(static_cast<int>(period.size())) - 1;
  node.number += Rational(integer_of(period), nines * ten_to(places));
  node.decimal = false;
  return node;
}

// The fraction of a mixed number, whose whole part is behind: "\frac{1}{2}", " 1/2".
std::optional<Node> Parser::mixed_part() {
  const Token token = peek();
  if (token.command("frac")) {
    take();
    const size_t nodes = nodes_;
    auto part = fraction();
    if (part.ok() && is_whole(part->args[0]) && is_whole(part->args[1])) return std::move(*part);
    nodes_ = nodes;
  } else if (token.kind == TokenKind::kNumber && token.spaced && all_digits(token.text)) {
    take();
    const Token slash = take();
    if (slash.symbol('/') && !slash.spaced && peek().kind == TokenKind::kNumber &&
        all_digits(peek().text) && !peek().spaced) {
      return node_of(NodeKind::kDivide, number_node(Rational(integer_of(token.text))),
                     number_node(Rational(integer_of(take().text))));
    }
  } else {
    return std::nullopt;
  }
  put_back(token);
  return std::nullopt;
}

// After '_': a name or a number.
Result<std::string> Parser::subscript() {
  if (peeked_) put_back(*peeked_);
  std::string_view inside;
  if (lexer_.braced(&inside)) return std::string(trimmed(inside));
  const Token token = take();
  if (token.kind == TokenKind::kEnd || token.kind == TokenKind::kSymbol) return unexpected();
  if (token.kind == TokenKind::kLetters && token.text.size() > 1) {
    lexer_.rewind(token.begin + 1);
    return token.text.substr(0, 1);
  }
  return token.text;
}

Result<Node> Parser::letter() {
  const Token token = take();
  if (token.text.size() > 1) lexer_.rewind(token.begin + 1);
  Node node = symbol_node(token.text.substr(0, 1));
  if (take_symbol('_')) {
    TW_ASSIGN(const std::string below, subscript());
    node.name += "_" + below;
  }
  return node;
}

Result<Node> Parser::letters() {
  const Token token = peek();
  if (is_known_word(token.text)) {
    take();
    return named(token);
  }
  const bool word =
      token.text.size() > 2 || token.text == "no" || token.text == "No" || token.text == "NO";
  if (!word) return letter();
  take();
  Node node{NodeKind::kWord, token.text};
  node.bare = true;
  return node;
}

Result<Node> Parser::text() {
  const Token token = take();
  if (token.text.size() == 1 || token.text.find_first_of("0123456789\\") != std::string::npos ||
      token.text.find_first_of("([") == 0) {
    auto inside = Parser(token.text, depth_).whole();
    if (inside.ok()) return inside;
  }
  if (token.text.empty()) return atom();
  return Node{NodeKind::kWord, token.text};
}

// A word or a command that stands for a function or a symbol; it is behind.
Result<Node> Parser::named(const Token& token) {
  if (const auto name = function_of(token.text)) {
    const bool plain_root = *name == "sqrt" && token.kind == TokenKind::kCommand;
    return plain_root ? root() : function(*name);
  }
  if (std::ranges::find(kWordsForInfinity, token.text) != kWordsForInfinity.end())
    return Node{NodeKind::kInfinity};
  Node node = symbol_node(token.text);
  if (take_symbol('_')) {
    TW_ASSIGN(const std::string below, subscript());
    node.name += "_" + below;
  }
  return node;
}

Result<Node> Parser::command() {
  const Token token = peek();
  if (!starts_atom(token)) return unexpected();
  take();
  const std::string& name = token.text;
  if (name == "frac") return fraction();
  if (name == "infty") return Node{NodeKind::kInfinity};
  if (name == "begin") return matrix();
  if (name == "{") return set();
  if (name == "emptyset") return Node{NodeKind::kSet};
  if (name == "lfloor") return between("rfloor", "floor");
  if (name == "lceil") return between("rceil", "ceil");
  if (name == "langle") return between("rangle", "");
  if (name == "boxed") return argument();
  if (name == "binom") {
    TW_ASSIGN(Node above, argument());
    TW_ASSIGN(Node below, argument());
    return node_of(NodeKind::kFunction, std::move(above), std::move(below), "binom");
  }
  if (name == "mathbb" || name == "overline") {
    TW_ASSIGN(const std::string inside, subscript());
    return symbol_node(name + "_" + inside);
  }
  if (name == "$") {
    TW_ASSIGN(Node amount, signed_power());
    return node_of(NodeKind::kUnit, std::move(amount), "dollar");
  }
  if (function_of(name) || is_symbol_command(name)) return named(token);
  return argument();  // \angle, \overrightarrow: a mark on what follows
}

Result<Node> Parser::argument() {
  if (peeked_) put_back(*peeked_);
  char digit = 0;
  if (lexer_.next_digit(&digit)) return number_node(Rational(digit - '0'));
  if (peek().kind == TokenKind::kLetters) return letter();
  return atom();
}

Result<Node> Parser::fraction() {
  TW_ASSIGN(Node above, argument());
  TW_ASSIGN(Node below, argument());
  return node_of(NodeKind::kDivide, std::move(above), std::move(below));
}

Result<Node> Parser::root() {
  std::optional<Node> degree;
  if (take_symbol('[')) {
    TW_ASSIGN(degree, list());
    if (!take_symbol(']')) return unexpected();
  }
  TW_ASSIGN(Node inside, argument());
  Node node = node_of(NodeKind::kFunction, std::move(inside), "sqrt");
  if (degree) node.args.push_back(std::move(*degree));
  return node;
}

Result<Node> Parser::function(const std::string& name) {
  std::optional<Node> base;
  std::optional<Node> power;
  if (take_symbol('_')) {
    TW_ASSIGN(base, argument());
  }
  if (take_symbol('^')) {
    TW_ASSIGN(power, exponent());
  }
  TW_ASSIGN(Node arg, function_argument());
  Node node{NodeKind::kFunction, name};
  // sin^{-1} is the inverse.
  const bool inverse = power && power->kind == NodeKind::kNegate && is_whole(power->args[0]) &&
                       power->args[0].number == 1;
  if (inverse && (name == "sin" || name == "cos" || name == "tan")) {
    node.name = "arc" + name;
    power.reset();
  }
  if (arg.kind == NodeKind::kTuple || arg.kind == NodeKind::kList) {
    node.args = std::move(arg.args);
  } else {
    node.args.push_back(std::move(arg));
  }
  if (base) node.args.push_back(std::move(*base));
  if (power) return node_of(NodeKind::kPower, std::move(node), std::move(*power));
  return node;
}

// One pair of brackets, or the factors up to the next operator: sin 2x.
Result<Node> Parser::function_argument() {
  if (peek().symbol('(') || peek().symbol('[')) return bracketed();
  if (peek().symbol('{')) return braced();
  TW_ASSIGN(Node arg, signed_power());
  while (true) {
    const Token& token = peek();
    const bool plain = token.kind == TokenKind::kLetters && !is_known_word(token.text) &&
                       !token.spaced && token.text.size() < 3;
    const bool sign = token.kind == TokenKind::kCommand && is_symbol_command(token.text);
    const bool fraction = token.command("frac");
    if (!plain && !sign && !fraction) return arg;
    TW_ASSIGN(Node next, power());
    arg = node_of(NodeKind::kMultiply, std::move(arg), std::move(next));
    if (arg.args.size() == 2 && ++marks_ > kMaxAnswerDepth) return bad_input("it is too long");
  }
}

}  // namespace tracewise::math
