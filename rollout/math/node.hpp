// What an answer says, as a tree.
#pragma once

#include <boost/multiprecision/cpp_int.hpp>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace tracewise::math {

using Integer = boost::multiprecision::cpp_int;
using Rational = boost::multiprecision::cpp_rational;

enum class NodeKind : uint8_t {
  kNumber,  // number
  kSymbol,  // name: "x", "x_1", "pi", "e", "i", "theta"
  kInfinity,
  kWord,       // name: words that are no mathematics; bare: may be a product of letters
  kAdd,        // args
  kNegate,     // args[0]
  kPlusMinus,  // args[0]; name "+-", or "-+" for \mp
  kMultiply,   // args
  kDivide,     // args[0] / args[1]
  kPower,      // args[0] ^ args[1]
  kFactorial,  // args[0]
  kPercent,    // args[0] percent
  kUnit,       // args[0] in units of name: "cm^2", "degree", "base 8"
  kFunction,   // name of args: "sin", "sqrt" (of args[0]; args[1]: the root's degree), "abs", ...
  kTuple,      // args between name[0] and name[1]: "()", "[)"; an interval is one of two
  kSet,        // args between braces; none: the empty set
  kList,       // args with commas, "and" or "or" between them
  kSetOp,      // args[0] name args[1]: "cup", "cap", "setminus"
  kRelation,   // args chained by relations, a byte of name each: = < > l (<=) g (>=) n (!=) i (in)
  kMatrix,     // args row by row; name: the number of rows
};

struct Node {
  NodeKind kind = NodeKind::kNumber;
  std::string name = {};
  std::vector<Node> args = {};
  Rational number = {};
  bool decimal = false;  // kNumber: written with a point or an exponent
  bool bare = false;     // kWord: letters without \text
};

inline Node number_node(Rational value) {
  Node node;
  node.number = std::move(value);
  return node;
}

inline Node symbol_node(std::string name) { return {NodeKind::kSymbol, std::move(name)}; }

inline Node node_of(NodeKind kind, Node arg, std::string name = {}) {
  Node node{kind, std::move(name)};
  node.args.push_back(std::move(arg));
  return node;
}

inline Node node_of(NodeKind kind, Node left, Node right, std::string name = {}) {
  Node node = node_of(kind, std::move(left), std::move(name));
  node.args.push_back(std::move(right));
  return node;
}

}  // namespace tracewise::math
