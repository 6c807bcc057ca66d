// What stands between brackets, braces, bars and \begin and \end.
#include <utility>

#include "rollout/math/atoms.hpp"
#include "rollout/math/parser.hpp"

namespace tracewise::math {

Result<Node> Parser::bracketed() {
  const bool round = take().symbol('(');
  const bool bars = std::exchange(bars_, false);
  ++brackets_;
  TW_ASSIGN(Node inside, list());
  const bool round_end = peek().symbol(')');
  if (!round_end && !peek().symbol(']')) return unexpected();
  take();
  --brackets_;
  bars_ = bars;
  if (inside.kind == NodeKind::kList) {
    inside.kind = NodeKind::kTuple;
    inside.name = {round ? '(' : '[', round_end ? ')' : ']'};
    return inside;
  }
  if (round != round_end) return unexpected();
  return inside;
}

Result<Node> Parser::braced() {
  take();
  const bool bars = std::exchange(bars_, false);
  TW_ASSIGN(Node inside, list());
  if (!take_symbol('}')) return unexpected();
  bars_ = bars;
  if (inside.kind == NodeKind::kList) inside.kind = NodeKind::kSet;
  return inside;
}

// \{ is behind.
Result<Node> Parser::set() {
  Node set{NodeKind::kSet};
  if (peek().command("}")) {
    take();
    return set;
  }
  const bool bars = std::exchange(bars_, true);
  ++brackets_;
  TW_ASSIGN(Node inside, list());
  // { x | x > 5 }: what the condition says.
  const bool condition = take_symbol('|');
  if (condition) {
    TW_ASSIGN(inside, list());
  }
  if (!peek().command("}")) return unexpected();
  take();
  --brackets_;
  bars_ = bars;
  if (condition) return inside;
  if (inside.kind == NodeKind::kList) {
    inside.kind = NodeKind::kSet;
    return inside;
  }
  set.args.push_back(std::move(inside));
  return set;
}

Result<Node> Parser::bars() {
  take();
  const bool bars = std::exchange(bars_, true);
  TW_ASSIGN(Node inside, sum());
  if (!take_symbol('|')) return unexpected();
  bars_ = bars;
  return node_of(NodeKind::kFunction, std::move(inside), "abs");
}

// Up to the command `close`; without a function it is a vector.
Result<Node> Parser::between(std::string_view close, std::string_view function) {
  const bool bars = std::exchange(bars_, false);
  ++brackets_;
  TW_ASSIGN(Node inside, list());
  if (!peek().command(close)) return unexpected();
  take();
  --brackets_;
  bars_ = bars;
  if (!function.empty())
    return node_of(NodeKind::kFunction, std::move(inside), std::string(function));
  if (inside.kind == NodeKind::kList) {
    inside.kind = NodeKind::kTuple;
    inside.name = "()";
  }
  return inside;
}

// \begin is behind.
Result<Node> Parser::matrix() {
  std::string_view name, columns;
  if (!lexer_.braced(&name)) return unexpected();
  if (name == "array") {
    if (!lexer_.braced(&columns)) return unexpected();
  } else if (!name.ends_with("matrix")) {
    return bad_input("\\begin{" + std::string(name.substr(0, 40)) + "} is not supported");
  }
  Node matrix{NodeKind::kMatrix};
  size_t rows = 1, width = 0;  // of the first row
  ++brackets_;
  for (size_t cells = 1;; ++cells) {
    TW_ASSIGN(Node cell, sum());
    matrix.args.push_back(std::move(cell));
    if (take_symbol('&')) continue;
    if (rows == 1) width = cells;
    if (cells != width) return bad_input("its matrix has rows of unequal length");
    cells = 0;
    if (!peek().command("\\")) break;
    take();
    if (peek().command("end")) break;
    ++rows;
  }
  if (!peek().command("end")) return unexpected();
  take();
  if (!lexer_.braced(&columns)) return unexpected();
  --brackets_;
  matrix.name = std::to_string(rows);
  return matrix;
}

}  // namespace tracewise::math
