// The parser's state; rollout/math/parser.cpp has the operators, atoms.cpp and groups.cpp what they
// stand between, units.cpp what may follow a number.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "messages/result.hpp"
#include "rollout/math/lexer.hpp"
#include "rollout/math/node.hpp"

namespace tracewise::math {

// Counts a nesting as long as it lives.
class Nesting {
 public:
  explicit Nesting(int& depth) : depth_(depth) { ++depth_; }
  ~Nesting() { --depth_; }
  Nesting(const Nesting&) = delete;
  Nesting& operator=(const Nesting&) = delete;

 private:
  int& depth_;
};

// One use. The text must outlive it.
class Parser {
 public:
  // `depth`: of what the text stands in.
  Parser(std::string_view text, int depth) : lexer_(text), depth_(depth) {}

  Result<Node> whole();

 private:
  const Token& peek();
  Token take();
  void put_back(const Token& token);  // and all that was taken since
  bool take_symbol(char c);
  bool take_separator();
  Error unexpected();

  // The grammar of parser.hpp.
  Result<Node> list();
  Result<Node> relation();
  Result<Node> set_operation();
  Result<Node> sum();
  Result<Node> product();
  Result<Node> signed_power();
  Result<Node> power();
  std::optional<Node> take_braced_degree(Node& base);
  Result<Node> exponent();
  Result<Node> postfix();
  Result<Node> marked(Node node);
  bool starts_factor(const Token& token, const Node& before) const;
  bool is_unit(const Token& token, bool inside) const;
  bool take_unit(Node& left);
  bool is_cross(const Node& left);

  Result<Node> atom();
  Result<Node> number();
  Result<Node> letters();
  Result<Node> letter();
  Result<Node> text();
  Result<Node> command();
  Result<Node> named(const Token& token);
  Result<Node> bracketed();
  Result<Node> braced();
  Result<Node> set();
  Result<Node> bars();
  Result<Node> between(std::string_view close, std::string_view function);
  Result<Node> fraction();
  Result<Node> root();
  Result<Node> function(const std::string& name);
  Result<Node> function_argument();
  Result<Node> argument();
  Result<Node> matrix();
  Result<Node> repeating(const std::string& digits);
  Result<std::string> subscript();
  std::optional<Node> mixed_part();
  bool starts_atom(const Token& command) const;
  static bool is_known_word(std::string_view letters);

  Lexer lexer_;
  std::optional<Token> peeked_;
  int depth_ = 0;
  int brackets_ = 0;   // open ( and [: there 1,234 is two numbers
  bool bars_ = false;  // the next | closes
  int marks_ = 0;
  size_t nodes_ = 0;
};

}  // namespace tracewise::math
