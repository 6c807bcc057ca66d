#include "rollout/math/value.hpp"

#include <algorithm>
#include <utility>

namespace tracewise::math {
namespace {

std::string lower_letters(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool upper = c >= 'A' && c <= 'Z';
    const bool letter = upper || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                        static_cast<unsigned char>(c) >= 0x80;
    if (letter) out += upper ? static_cast<char>(c - 'A' + 'a') : c;
  }
  return out;
}

bool has(const Node& node, NodeKind kind) {
  return node.kind == kind ||
         std::ranges::any_of(node.args, [&](const Node& arg) { return has(arg, kind); });
}

// With the upper or the lower signs.
Node signs_taken(Node node, bool upper) {
  for (Node& arg : node.args) arg = signs_taken(std::move(arg), upper);
  if (node.kind != NodeKind::kPlusMinus) return node;
  const bool plus = (node.name == "+-") == upper;
  if (plus) return std::move(node.args[0]);
  return node_of(NodeKind::kNegate, std::move(node.args[0]));
}

// What a value can be given to: x, f(x), words.
bool is_name(const Node& node) {
  if (node.kind == NodeKind::kSymbol || node.kind == NodeKind::kWord) return true;
  const bool grouped = node.kind == NodeKind::kMultiply || node.kind == NodeKind::kTuple;
  return grouped && std::ranges::all_of(node.args, is_name);
}

Value words_of(const Node& node) {
  Value out{ValueKind::kWords, lower_letters(node.name), {}, {}, {}, {}, {}};
  // "no" is hardly n times o.
  if (node.bare && out.name != "no") out.scalar = scalar_of(node);
  return out;
}

Value reals_value(RealSet reals, std::string variable) {
  Value out;
  out.kind = ValueKind::kReals;
  out.reals = std::move(reals);
  out.variable = std::move(variable);
  return out;
}

Result<std::vector<Value>> values_of(const std::vector<Node>& nodes) {
  std::vector<Value> out;
  for (const Node& node : nodes) {
    TW_ASSIGN(Value value, value_of(node));
    out.push_back(std::move(value));
  }
  return out;
}

std::optional<Scalar> difference(const Node& a, const Node& b) {
  return scalar_of(node_of(NodeKind::kAdd, a, node_of(NodeKind::kNegate, b)));
}

// "<" where op is > and so on, for the sides in the other order.
char turned(char op) {
  switch (op) {
    case '<':
      return '>';
    case '>':
      return '<';
    case 'l':
      return 'g';
    case 'g':
      return 'l';
    default:
      return op;
  }
}

// The numbers x with x op end.
std::optional<RealSet> half_line(char op, const Scalar& end) {
  const RealSet all = all_reals();
  if (op == 'n') {
    const auto point = interval({end, end, true, true});
    if (!point || end.infinity != 0) return std::nullopt;
    return complement(*point);
  }
  if (op == '<' || op == 'l') return interval({all[0].low, end, false, op == 'l'});
  return interval({end, all[0].high, op == 'g', false});
}

// x < 5, 5 > x, 1 <= x < 2.
std::optional<Value> reals_of_relation(const Node& node) {
  const size_t at = node.args.size() == 3 ? 1 : node.args[0].kind == NodeKind::kSymbol ? 0 : 1;
  const Node& variable = node.args[at];
  if (variable.kind != NodeKind::kSymbol || node.args.size() > 3) return std::nullopt;
  RealSet out = all_reals();
  for (size_t i = 0; i < node.name.size(); ++i) {
    const bool left = i == at;  // the variable stands left of this relation
    const auto end = scalar_of(node.args[left ? i + 1 : i]);
    if (!end) return std::nullopt;
    const auto half = half_line(left ? node.name[i] : turned(node.name[i]), *end);
    if (!half) return std::nullopt;
    out = intersection(out, *half);
  }
  return reals_value(std::move(out), variable.name);
}

Result<Value> equation_value(const Node& node) {
  const Node* left = &node.args.front();
  const Node* right = &node.args.back();
  if (node.args.size() == 2 && !is_name(*left) && right->kind == NodeKind::kSymbol)
    std::swap(left, right);
  TW_ASSIGN(Value value, value_of(*right));
  if (is_name(*left)) {
    value.variable = form_of(*left);
    if (left->kind == NodeKind::kSymbol) value.variable = left->name;
    value.equation = difference(*left, *right);
    return value;
  }
  Value out;
  out.kind = ValueKind::kRelation;
  out.name = "=";
  out.scalar = difference(node.args[node.args.size() - 2], *right);
  out.items.push_back(std::move(value));
  return out;
}

Result<Value> relation_value(const Node& node) {
  if (node.name.find_first_not_of('=') == std::string::npos) return equation_value(node);
  if (node.name == "i") {
    TW_ASSIGN(Value value, value_of(node.args[1]));
    if (node.args[0].kind == NodeKind::kSymbol) value.variable = node.args[0].name;
    return value;
  }
  if (node.name.find_first_of("=i") != std::string::npos)
    return bad_input("it has a chain of different relations");
  if (auto reals = reals_of_relation(node)) return std::move(*reals);
  Value chain{ValueKind::kSet, "", {}, {}, {}, {}, {}};
  for (size_t i = 0; i < node.name.size(); ++i) {
    char op = node.name[i];
    const bool turn = op == '>' || op == 'g';
    Value link;
    link.kind = ValueKind::kRelation;
    link.scalar = difference(node.args[turn ? i + 1 : i], node.args[turn ? i : i + 1]);
    if (!link.scalar) return bad_input("it relates what are no numbers");
    link.name = {turn ? turned(op) : op};
    chain.items.push_back(std::move(link));
  }
  if (chain.items.size() == 1) return std::move(chain.items[0]);
  return chain;
}

// x = 1 or x = 2; x = 1, 2; x < 1 or x > 2.
Result<Value> list_value(const Node& node) {
  TW_ASSIGN(std::vector<Value> items, values_of(node.args));
  Value list{ValueKind::kSet, "", {}, {}, {}, {}, {}};
  const std::string variable = items[0].variable;
  const bool one = std::ranges::all_of(items, [&](const Value& item) {
    return item.variable == variable || (item.variable.empty() && item.kind != ValueKind::kReals);
  });
  const bool halves = !variable.empty() && std::ranges::all_of(items, [](const Value& item) {
    return item.kind == ValueKind::kReals;
  });
  if (one && halves) {
    RealSet any, all = all_reals();
    for (const Value& item : items) {
      any = united(std::move(any), item.reals);
      all = intersection(all, item.reals);
    }
    return reals_value(node.name == "and" && !all.empty() ? all : any, variable);
  }
  for (Value& item : items) {
    if (one) {
      item.variable.clear();
      item.equation.reset();
    }
    const bool spread = item.kind == ValueKind::kSet && item.name.empty();
    if (spread) {
      std::ranges::move(item.items, std::back_inserter(list.items));
    } else {
      list.items.push_back(std::move(item));
    }
  }
  if (one) list.variable = variable;
  return list;
}

Result<Value> set_operation_value(const Node& node) {
  TW_ASSIGN(Value left, value_of(node.args[0]));
  TW_ASSIGN(Value right, value_of(node.args[1]));
  auto a = reals_of(left), b = reals_of(right);
  if (a && b) {
    if (node.name == "cup") return reals_value(united(std::move(*a), *b), "");
    if (node.name == "setminus") b = complement(*b);
    return reals_value(intersection(*a, *b), "");
  }
  if (node.name != "cup") return bad_input("it has an operation on sets that are not of numbers");
  // Of what is no number the union is the list of the parts.
  Value out{ValueKind::kSet, "{}", {}, {}, {}, {}, {}};
  for (Value* side : {&left, &right}) {
    if (side->kind == ValueKind::kSet) {
      std::ranges::move(side->items, std::back_inserter(out.items));
    } else {
      out.items.push_back(std::move(*side));
    }
  }
  return out;
}

Result<Value> plus_minus_value(const Node& node) {
  Node both{NodeKind::kList};
  both.args = {signs_taken(node, true), signs_taken(node, false)};
  return value_of(both);
}

}  // namespace

std::optional<RealSet> reals_of(const Value& value) {
  if (value.kind == ValueKind::kReals) return value.reals;
  if (value.kind == ValueKind::kTuple && value.items.size() == 2) {
    const auto &low = value.items[0].scalar, &high = value.items[1].scalar;
    if (!low || !high) return std::nullopt;
    return interval({*low, *high, value.name[0] == '[', value.name[1] == ']'});
  }
  if (value.kind != ValueKind::kSet || value.name != "{}") return std::nullopt;
  RealSet out;
  for (const Value& item : value.items) {
    if (item.kind != ValueKind::kScalar || item.scalar->infinity != 0) return std::nullopt;
    const auto point = interval({*item.scalar, *item.scalar, true, true});
    if (!point) return std::nullopt;
    out.insert(out.end(), point->begin(), point->end());
  }
  return united({}, out);
}

Result<Value> value_of(const Node& node) {
  if (node.kind != NodeKind::kList && has(node, NodeKind::kPlusMinus))
    return plus_minus_value(node);
  switch (node.kind) {
    case NodeKind::kWord:
      return words_of(node);
    case NodeKind::kRelation:
      return relation_value(node);
    case NodeKind::kList:
      return list_value(node);
    case NodeKind::kSetOp:
      return set_operation_value(node);
    case NodeKind::kTuple:
    case NodeKind::kSet:
    case NodeKind::kMatrix: {
      TW_ASSIGN(std::vector<Value> items, values_of(node.args));
      Value out;
      out.kind = node.kind == NodeKind::kTuple ? ValueKind::kTuple
                 : node.kind == NodeKind::kSet ? ValueKind::kSet
                                               : ValueKind::kMatrix;
      out.name = node.kind == NodeKind::kSet ? "{}" : node.name;
      out.items = std::move(items);
      return out;
    }
    default:
      break;
  }
  if (node.kind == NodeKind::kSymbol && node.name == "mathbb_R")
    return reals_value(all_reals(), "");
  auto scalar = scalar_of(node);
  if (!scalar) return bad_input("it calculates with what are no numbers");
  Value out;
  out.scalar = std::move(scalar);
  return out;
}

}  // namespace tracewise::math
