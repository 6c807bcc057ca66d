// Units and words behind a number.
#include <algorithm>

#include "rollout/math/atoms.hpp"
#include "rollout/math/names.hpp"

namespace tracewise::math {
namespace {

bool ends_in_number(const Node& node) {
  switch (node.kind) {
    case NodeKind::kNumber:
    case NodeKind::kFunction:
    case NodeKind::kPower:
    case NodeKind::kInfinity:
      return true;
    case NodeKind::kSymbol:
      return node.name == "pi";
    case NodeKind::kNegate:
    case NodeKind::kMultiply:
    case NodeKind::kDivide:
    case NodeKind::kAdd:
    case NodeKind::kPercent:
    case NodeKind::kUnit:
      return !node.args.empty() && ends_in_number(node.args.back());
    default:
      return false;
  }
}

}  // namespace

// Whether the token goes on with (or, if not `inside`, begins) the unit of a number.
bool Parser::is_unit(const Token& token, bool inside) const {
  if (token.text == "and" || token.text == "or" || token.text == ",") return false;
  if (token.kind == TokenKind::kText) {
    const bool letters = std::ranges::all_of(token.text, [](unsigned char c) {
      return c >= 0x80 || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == ' ' ||
             c == '.' || c == '-' || c == '/' || c == '^' || (c >= '0' && c <= '9');
    });
    const size_t first = token.text.find_first_not_of("0123456789.-/^ ");
    return letters && first == 0 && (token.text.size() > 1 || known_unit(token.text));
  }
  if (token.kind != TokenKind::kLetters || is_known_word(token.text)) return false;
  if (known_unit(token.text)) return token.spaced || inside || token.text.size() > 1;
  if (token.text.size() == 1) return false;
  return token.spaced && (token.text.size() > 2 || inside);
}

bool Parser::take_unit(Node& left) {
  if (!ends_in_number(left)) return false;
  if (peek().command("$")) {
    take();
    left = node_of(NodeKind::kUnit, std::move(left), "dollar");
    return true;
  }
  if (!is_unit(peek(), false)) return false;
  // A letter is a unit at the end alone: 2 m + 1 is a sum.
  if (const Token token = peek(); token.kind == TokenKind::kLetters && token.text.size() == 1) {
    take();
    const bool last = peek().kind == TokenKind::kEnd;
    put_back(token);
    if (!last) return false;
  }
  std::string name;
  while (true) {
    const Token token = peek();
    if (is_unit(token, true)) {
      take();
      name += (name.empty() || name.back() == '/' ? "" : " ") + token.text;
    } else if (token.symbol('^')) {
      take();
      bool braces = take_symbol('{');
      if (peek().kind != TokenKind::kNumber) {
        put_back(token);
        break;
      }
      name += take().text;
      if (braces && !take_symbol('}')) break;
    } else if (token.symbol('/')) {
      take();
      if (!is_unit(peek(), true)) {
        put_back(token);
        break;
      }
      name += '/';
    } else if (token.symbol('.')) {
      take();
    } else {
      break;
    }
  }
  left = node_of(NodeKind::kUnit, std::move(left), std::move(name));
  return true;
}

}  // namespace tracewise::math
