#include "rollout/math/parser.hpp"

#include <algorithm>
#include <array>
#include <optional>

#include "rollout/answer_text.hpp"
#include "rollout/math/atoms.hpp"
#include "rollout/math/names.hpp"

namespace tracewise::math {
namespace {

// Operators that nest without brackets: a!!!, a/b/c.
constexpr int kMaxMarks = 200;

}  // namespace

Result<Node> Parser::whole() {
  TW_ASSIGN(Node node, list());
  if (peek().kind != TokenKind::kEnd) return unexpected();
  return node;
}

Error Parser::unexpected() {
  const Token token = peek();
  if (token.kind == TokenKind::kEnd) return bad_input("it ends too early");
  const std::string slash = token.kind == TokenKind::kCommand ? "\\" : "";
  return bad_input("\"" + slash + token.text.substr(0, 40) + "\" is not expected at byte " +
                   std::to_string(token.begin));
}

const Token& Parser::peek() {
  if (!peeked_) peeked_ = lexer_.next(brackets_ == 0);
  return *peeked_;
}

Token Parser::take() {
  Token token = peek();
  peeked_.reset();
  return token;
}

void Parser::put_back(const Token& token) {
  lexer_.rewind(token.begin);
  peeked_.reset();
}

bool Parser::take_symbol(char c) {
  if (!peek().symbol(c)) return false;
  take();
  return true;
}

// A comma, a semicolon, "and" or "or".
bool Parser::take_separator() {
  const Token& token = peek();
  const bool word = token.kind != TokenKind::kSymbol && (token.text == "and" || token.text == "or");
  const bool mark = token.symbol(',') || token.symbol(';') || token.is(TokenKind::kText, ",");
  if (!word && !mark) return false;
  take();
  return true;
}

Result<Node> Parser::list() {
  const Nesting nesting(depth_);
  if (depth_ > kMaxAnswerDepth) return bad_input("it is nested too deeply");
  Node list{NodeKind::kList};
  while (true) {
    TW_ASSIGN(Node item, relation());
    list.args.push_back(std::move(item));
    if (!take_separator()) break;
    while (take_separator()) {
    }
    if (peek().kind == TokenKind::kEnd) break;
  }
  if (list.args.size() == 1) return std::move(list.args[0]);
  return list;
}

namespace {

// The relation's byte in Node::name; 0: the token is none.
char relation_of(const Token& token) {
  if (token.kind == TokenKind::kSymbol) {
    const char c = token.text[0];
    return c == '=' || c == '<' || c == '>' ? c : '\0';
  }
  if (token.kind != TokenKind::kCommand) return 0;
  if (token.text == "le") return 'l';
  if (token.text == "ge") return 'g';
  if (token.text == "ne") return 'n';
  if (token.text == "in") return 'i';
  return token.text == "approx" || token.text == "equiv" ? '=' : '\0';
}

}  // namespace

Result<Node> Parser::relation() {
  // "= 5" and "\approx 5" say 5.
  while (relation_of(peek()) == '=') take();
  TW_ASSIGN(Node first, set_operation());
  Node chain = node_of(NodeKind::kRelation, std::move(first));
  while (char op = relation_of(peek())) {
    take();
    if ((op == '<' || op == '>') && take_symbol('=')) op = op == '<' ? 'l' : 'g';
    chain.name += op;
    TW_ASSIGN(Node next, set_operation());
    chain.args.push_back(std::move(next));
  }
  if (chain.name.empty()) return std::move(chain.args[0]);
  return chain;
}

Result<Node> Parser::set_operation() {
  TW_ASSIGN(Node left, sum());
  while (true) {
    const Token token = peek();
    std::string op;
    const bool letter =
        token.kind == TokenKind::kLetters && (token.text == "U" || token.text == "u");
    if (letter && (left.kind == NodeKind::kTuple || left.kind == NodeKind::kSetOp)) op = "cup";
    if (token.command("cup") || token.command("cap") || token.command("setminus")) op = token.text;
    if (op.empty()) return left;
    take();
    if (++marks_ > kMaxMarks) return bad_input("it is too long");
    TW_ASSIGN(Node right, sum());
    left = node_of(NodeKind::kSetOp, std::move(left), std::move(right), op);
  }
}

Result<Node> Parser::sum() {
  Node sum{NodeKind::kAdd};
  while (true) {
    const Token token = peek();
    const bool first = sum.args.empty();
    const bool plus_minus = token.command("pm") || token.command("mp");
    const bool signs = token.symbol('+') || token.symbol('-') || plus_minus;
    if (!first && !signs) break;
    if (signs) take();
    // "+/-" in plain text.
    const bool spelled = token.symbol('+') && peek().symbol('/');
    if (spelled) {
      take();
      if (!take_symbol('-')) return unexpected();
    }
    TW_ASSIGN(Node term, product());
    if (plus_minus || spelled) {
      term = node_of(NodeKind::kPlusMinus, std::move(term), token.command("mp") ? "-+" : "+-");
    } else if (token.symbol('-')) {
      term = node_of(NodeKind::kNegate, std::move(term));
    }
    sum.args.push_back(std::move(term));
  }
  if (sum.args.size() == 1) return std::move(sum.args[0]);
  return sum;
}

// Whether a token can begin a factor that no sign of multiplication stands before.
bool Parser::starts_factor(const Token& token, const Node& before) const {
  const bool set = before.kind == NodeKind::kTuple || before.kind == NodeKind::kSet;
  switch (token.kind) {
    case TokenKind::kEnd:
      return false;
    case TokenKind::kNumber:
      return before.kind != NodeKind::kNumber;
    case TokenKind::kLetters:
      return !(set && (token.text == "U" || token.text == "u")) && token.text != "and" &&
             token.text != "or";
    case TokenKind::kText:
      return token.text != "and" && token.text != "or" && token.text != ",";
    case TokenKind::kSymbol:
      return token.symbol('(') || token.symbol('[') || token.symbol('{') ||
             (token.symbol('|') && !bars_);
    case TokenKind::kCommand:
      return starts_atom(token);
  }
  return false;
}

// "5 x 10^3" and "2 x 3" have the letter between two numbers.
bool Parser::is_cross(const Node& left) {
  const Token token = peek();
  if (!token.is(TokenKind::kLetters, "x") || !token.spaced || left.kind != NodeKind::kNumber)
    return false;
  take();
  const bool cross = peek().kind == TokenKind::kNumber && peek().spaced;
  put_back(token);
  return cross;
}

namespace {

// Products are flat, so that long ones are not deep.
Node times_node(Node left, Node right) {
  if (left.kind != NodeKind::kMultiply)
    return node_of(NodeKind::kMultiply, std::move(left), std::move(right));
  left.args.push_back(std::move(right));
  return left;
}

}  // namespace

Result<Node> Parser::product() {
  TW_ASSIGN(Node left, signed_power());
  while (true) {
    if (take_unit(left)) {
      if (++marks_ > kMaxMarks) return bad_input("it is too long");
      continue;
    }
    const Token token = peek();
    const bool times = token.symbol('*') || token.command("cdot") || is_cross(left);
    const bool divided = token.symbol('/') || token.symbol(':');
    if (times || divided) {
      take();
      TW_ASSIGN(Node right, signed_power());
      if (divided) {
        if (++marks_ > kMaxMarks) return bad_input("it is too long");
        left = node_of(NodeKind::kDivide, std::move(left), std::move(right));
      } else {
        left = times_node(std::move(left), std::move(right));
      }
    } else if (starts_factor(token, left)) {
      TW_ASSIGN(Node right, power());
      if (left.kind == NodeKind::kWord && right.kind == NodeKind::kWord) {
        left.name += " " + right.name;
        left.bare = false;
      } else {
        left = times_node(std::move(left), std::move(right));
      }
    } else {
      return left;
    }
  }
}

Result<Node> Parser::signed_power() {
  bool negative = false;
  while (peek().symbol('-') || peek().symbol('+')) negative ^= take().symbol('-');
  TW_ASSIGN(Node node, power());
  if (negative) return node_of(NodeKind::kNegate, std::move(node));
  return node;
}

Result<Node> Parser::power() {
  TW_ASSIGN(Node base, postfix());
  if (!take_symbol('^')) return base;
  if (peek().command("circ") || peek().command("prime")) {
    return node_of(NodeKind::kUnit, std::move(base), take().text == "circ" ? "degree" : "minute");
  }
  std::optional<Node> degree = take_braced_degree(base);
  if (degree) return std::move(*degree);
  TW_ASSIGN(Node exponent, this->exponent());
  Node power = node_of(NodeKind::kPower, std::move(base), std::move(exponent));
  while (peek().symbol('!') || peek().symbol('%') || peek().symbol('\'')) {
    TW_ASSIGN(power, marked(std::move(power)));
  }
  return power;
}

// base^{\circ}
std::optional<Node> Parser::take_braced_degree(Node& base) {
  const Token brace = peek();
  if (!brace.symbol('{')) return std::nullopt;
  take();
  if (peek().command("circ")) {
    take();
    if (take_symbol('}')) return node_of(NodeKind::kUnit, std::move(base), "degree");
  }
  put_back(brace);
  return std::nullopt;
}

// What stands after '^': a group, or a signed power; 2^3^2 is 2^(3^2).
Result<Node> Parser::exponent() {
  const Nesting nesting(depth_);
  if (depth_ > kMaxAnswerDepth) return bad_input("it is nested too deeply");
  bool negative = false;
  while (peek().symbol('-') || peek().symbol('+')) negative ^= take().symbol('-');
  const Token token = peek();
  Result<Node> base = unexpected();
  if (token.kind == TokenKind::kLetters && token.text.size() > 1 && !is_known_word(token.text)) {
    base = letter();
  } else {
    base = atom();
  }
  TW_ASSIGN(Node node, std::move(base));
  if (take_symbol('^')) {
    TW_ASSIGN(Node above, exponent());
    node = node_of(NodeKind::kPower, std::move(node), std::move(above));
  }
  if (negative) return node_of(NodeKind::kNegate, std::move(node));
  return node;
}

Result<Node> Parser::postfix() {
  TW_ASSIGN(Node node, atom());
  while (peek().symbol('!') || peek().symbol('%') || peek().symbol('\'')) {
    TW_ASSIGN(node, marked(std::move(node)));
  }
  return node;
}

Result<Node> Parser::marked(Node node) {
  if (++marks_ > kMaxMarks) return bad_input("it is too long");
  const Token mark = take();
  if (mark.symbol('!')) return node_of(NodeKind::kFactorial, std::move(node));
  if (mark.symbol('%')) return node_of(NodeKind::kPercent, std::move(node));
  if (node.kind == NodeKind::kSymbol) {
    node.name += '\'';
    return node;
  }
  return node_of(NodeKind::kUnit, std::move(node), "minute");
}

Result<Node> parse_answer(std::string_view text) {
  if (text.size() > kMaxAnswerBytes) return bad_input("it is too long");
  const std::string spelled = spelled_in_latex(text);
  if (trimmed(spelled).empty()) return bad_input("it is empty");
  return Parser(spelled, 0).whole();
}

}  // namespace tracewise::math
