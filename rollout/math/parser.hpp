// Reads the text of an answer. LaTeX and plain text, in one grammar:
//
//   answer    relation { (, | ; | and | or) relation }
//   relation  setop { (= < > \le \ge \ne \in \approx) setop }
//   setop     sum { (\cup \cap \setminus) sum }
//   sum       product { (+ - \pm \mp) product }
//   product   power { [* / :] power } [unit]
//   power     postfix [^ exponent]
//   postfix   atom { ! % ^\circ ' }
#pragma once

#include <string>
#include <string_view>

#include "messages/result.hpp"
#include "rollout/math/node.hpp"

namespace tracewise::math {

// Longer or deeper texts are no answers.
inline constexpr size_t kMaxAnswerBytes = 4000;
inline constexpr size_t kMaxAnswerNodes = 1000;
inline constexpr int kMaxAnswerDepth = 96;

// kBadInput says what cannot be read. Takes time in proportion to the text, whatever it says.
Result<Node> parse_answer(std::string_view text);

}  // namespace tracewise::math
