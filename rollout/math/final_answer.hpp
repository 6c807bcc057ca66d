// Where a response says its answer.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace tracewise::math {

// The text of the answer, without what stands around it; empty if there is none. In this order:
//   1. the last \boxed{...}, \fbox{...} or \boxed 5, with those directly before it that only
//   commas,
//      "and" or "or" part from it;
//   2. what follows the last "answer is", "answer:" or "####", up to the sentence's end;
//   3. the whole response, where it is one line that reads as an answer;
//   4. the last $...$, \(...\), \[...\] or number, whichever ends later.
// Takes time in proportion to the response.
std::string final_answer(std::string_view response);

// Its first two steps: what the last box holds, and all that follows the last announcement.
std::optional<std::string> boxed_answer(std::string_view response);
std::optional<std::string_view> announced(std::string_view response);

}  // namespace tracewise::math
