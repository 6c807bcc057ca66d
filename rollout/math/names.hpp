// The words that mean something in an answer.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace tracewise::math {

// The function of this name: "sin", "arcsin", "sqrt", "ln", ...; "asin" is "arcsin".
std::optional<std::string> function_of(std::string_view name);

// Whether a command names a symbol: a Greek letter and the like.
bool is_symbol_command(std::string_view name);

// One name for all spellings of a unit: "cm" for "centimeters" and "centimetre"; of a compound the
// factors ("km/h"). nullopt: not a unit that we know.
std::optional<std::string> known_unit(std::string_view text);

}  // namespace tracewise::math
