// The letter that answers a multiple-choice question.
#pragma once

#include <optional>
#include <string_view>

namespace tracewise {

// The capital letter that the whole text is: "B", "b", "(B)", "B.", "\text{B}", "**B**", "$B$", or
// that labels it: "(B) Paris", "B. Paris", "B: Paris". nullopt for other texts.
std::optional<char> choice_of(std::string_view text);

// The letter that a response chooses. In this order: in the last box; after the last "answer is" or
// "answer:"; the whole response; the last letter in round brackets; the last line that is or begins
// with a labelling letter.
std::optional<char> choice_in(std::string_view response);

}  // namespace tracewise
