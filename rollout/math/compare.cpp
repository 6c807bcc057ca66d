#include "rollout/math/compare.hpp"

#include <algorithm>
#include <span>

#include "rollout/answer_text.hpp"
#include "rollout/math/parser.hpp"

namespace tracewise::math {
namespace {

bool is_list(const Value& value) { return value.kind == ValueKind::kSet && value.name.empty(); }

bool in_order(std::span<const Value> gold, std::span<const Value> answer) {
  return std::ranges::equal(gold, answer,
                            [](const Value& a, const Value& b) { return equal(a, b); });
}

// Each item of either side is one of the other's.
bool in_any_order(std::span<const Value> gold, std::span<const Value> answer) {
  const auto in_answer = [&](const Value& g) {
    return std::ranges::any_of(answer, [&](const Value& a) { return equal(g, a); });
  };
  const auto in_gold = [&](const Value& a) {
    return std::ranges::any_of(gold, [&](const Value& g) { return equal(g, a); });
  };
  return std::ranges::all_of(gold, in_answer) && std::ranges::all_of(answer, in_gold);
}

// x = 1, y = 2 has an order where the other side has no names.
bool is_named(const Value& list) {
  return std::ranges::any_of(list.items, [](const Value& item) { return !item.variable.empty(); });
}

bool equal_sets(const Value& gold, const Value& answer) {
  if (gold.kind == ValueKind::kSet && answer.kind == ValueKind::kSet) {
    if (is_named(gold) != is_named(answer)) return in_order(gold.items, answer.items);
    return in_any_order(gold.items, answer.items);
  }
  const bool gold_is_set = gold.kind == ValueKind::kSet;
  const Value& set = gold_is_set ? gold : answer;
  const Value& other = gold_is_set ? answer : gold;
  if (other.kind == ValueKind::kTuple) {
    const bool round = other.name == "()" || other.items.size() != 2;
    if (!is_list(set) || !round) return false;
    return gold_is_set && !is_named(gold) ? in_any_order(gold.items, answer.items)
                                          : in_order(gold.items, answer.items);
  }
  if (set.items.size() != 1) return false;
  return gold_is_set ? equal(set.items[0], answer) : equal(gold, set.items[0]);
}

bool equal_tuples(const Value& gold, const Value& answer) {
  const bool brackets = gold.items.size() != 2 || gold.name == answer.name;
  return brackets && in_order(gold.items, answer.items);
}

bool equal_relations(const Value& gold, const Value& answer) {
  if (gold.name != answer.name || !gold.scalar || !answer.scalar) return false;
  if (gold.scalar->form == answer.scalar->form) return true;
  int sign = 0;
  const bool ordered = gold.name == "<" || gold.name == "l";
  if (!proportional(*gold.scalar, *answer.scalar, ordered ? &sign : nullptr)) return false;
  return sign >= 0;
}

// x = 5 where the other says x - 5 = 0 or 2x = 10.
bool equal_equations(const Value& gold, const Value& answer) {
  const auto equation = [](const Value& v) -> const std::optional<Scalar>& {
    return v.kind == ValueKind::kRelation ? v.scalar : v.equation;
  };
  const auto &a = equation(gold), &b = equation(answer);
  return a && b && proportional(*a, *b, nullptr);
}

bool is_equation(const Value& value) {
  return value.kind == ValueKind::kRelation ? value.name == "=" : value.equation.has_value();
}

bool equal_values(const Value& gold, const Value& answer) {
  if (gold.kind == ValueKind::kReals || answer.kind == ValueKind::kReals) {
    const auto a = reals_of(gold), b = reals_of(answer);
    if (a && b) return same(*a, *b);
  }
  if (gold.kind == ValueKind::kSet || answer.kind == ValueKind::kSet)
    return equal_sets(gold, answer);
  if (gold.kind == ValueKind::kWords && answer.kind == ValueKind::kWords &&
      gold.name == answer.name) {
    return true;
  }
  if (gold.scalar && answer.scalar && gold.kind != ValueKind::kRelation &&
      answer.kind != ValueKind::kRelation) {
    return !units_differ(*gold.scalar, *answer.scalar) && same(*gold.scalar, *answer.scalar);
  }
  if (gold.kind != answer.kind) return false;
  if (gold.kind == ValueKind::kTuple) return equal_tuples(gold, answer);
  if (gold.kind == ValueKind::kMatrix)
    return gold.name == answer.name && in_order(gold.items, answer.items);
  return gold.kind == ValueKind::kRelation && equal_relations(gold, answer);
}

// The letters of a text that has nothing but words; empty where it has anything else.
std::string words_in(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size(); ++at) {
    const char c = text[at];
    if (c == '\\') {
      const size_t begin = at + 1;
      while (at + 1 < text.size() && std::isalpha(static_cast<unsigned char>(text[at + 1]))) ++at;
      const std::string_view name = text.substr(begin, at + 1 - begin);
      if (!name.starts_with("text") && !name.starts_with("math") && name != "mbox") return {};
    } else if (std::isalpha(static_cast<unsigned char>(c)) || static_cast<unsigned char>(c) > 127) {
      out += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    } else if (std::string_view("{} .$'-").find(c) == std::string_view::npos) {
      return {};
    }
  }
  return out;
}

}  // namespace

bool equal(const Value& gold, const Value& answer) {
  if (is_equation(gold) && is_equation(answer) && equal_equations(gold, answer)) return true;
  if (!gold.variable.empty() && !answer.variable.empty() && gold.variable != answer.variable)
    return false;
  // 2 + 3 = 5 answers 5; but 5 does not answer 2x + y = 5.
  const bool calculation = answer.kind == ValueKind::kRelation && answer.name == "=" &&
                           gold.kind != ValueKind::kRelation;
  return calculation ? equal_values(gold, answer.items[0]) : equal_values(gold, answer);
}

Result<Answer> read_answer(std::string_view text) {
  text = trimmed(text);
  auto node = parse_answer(text);
  Answer out;
  out.words = words_in(text.substr(0, kMaxAnswerBytes));
  if (!node.ok()) {
    if (out.words.size() < 2) return node.error();
    out.value.kind = ValueKind::kWords;
    out.value.name = out.words;
    return out;
  }
  TW_ASSIGN(out.value, value_of(*node));
  return out;
}

bool equal(const Answer& gold, const Answer& answer) {
  // A word of one letter may be a variable, and x is not X.
  if (gold.words.size() > 1 && gold.words == answer.words) return true;
  return equal(gold.value, answer.value);
}

}  // namespace tracewise::math
