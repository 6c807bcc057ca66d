// Whether an answer is the gold answer.
#pragma once

#include <string_view>

#include "messages/result.hpp"
#include "rollout/math/value.hpp"

namespace tracewise::math {

// By value; docs/rewards.md has the rules. Not symmetric: a gold tuple has an order that a list
// must keep, a gold list has none that a tuple must keep, and an answer may be an equation whose
// right side is the gold value.
bool equal(const Value& gold, const Value& answer);

// A text and what it means.
struct Answer {
  Value value;
  std::string words;  // its letters in lower case where it has nothing but words; else empty
};

// kBadInput, one sentence, for a text that cannot be read. Takes milliseconds, whatever it says.
Result<Answer> read_answer(std::string_view text);

bool equal(const Answer& gold, const Answer& answer);

}  // namespace tracewise::math
