// Finding the answer inside a text.
#pragma once

#include <optional>
#include <string_view>

namespace tracewise {

// Without ASCII blanks at both ends.
std::string_view trimmed(std::string_view text);

// What follows the last occurrence of `prefix`, up to the first occurrence of `suffix` after it (to
// the end where that is empty or missing), trimmed; nullopt if `prefix` does not occur. An empty
// prefix gives the whole text. With prefix ending in '{' and suffix "}" the braces are counted, so
// that \boxed{\frac{1}{2}} gives \frac{1}{2}.
std::optional<std::string_view> answer_in(std::string_view text, std::string_view prefix,
                                          std::string_view suffix);

enum class NumberPlace { kFirst, kLast };

// The first or last number in the text: sign, thousands separators (1,234,567), decimals, exponent,
// fractions a/b. A '-' right after a letter, digit or bracket is an operator, not a sign.
std::optional<double> number_in(std::string_view text, NumberPlace place);

// The number that the whole text is, blanks and a currency sign aside.
std::optional<double> whole_number_text(std::string_view text);

// How sure a text says it is, in [0, 1]: its first number as "80%", "80 percent", "0.8", "8/10", "8
// out of 10"; a bare number above 1 counts as percent. nullopt if there is none or it is out of
// range.
std::optional<float> parse_confidence(std::string_view text);

}  // namespace tracewise
