#include "rollout/math/names.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace tracewise::math {
namespace {

using Names = std::pair<std::string_view, std::string_view>;

constexpr std::array kFunctions = std::to_array<Names>(
    {{"sin", "sin"},       {"cos", "cos"},     {"tan", "tan"},       {"cot", "cot"},
     {"sec", "sec"},       {"csc", "csc"},     {"arcsin", "arcsin"}, {"arccos", "arccos"},
     {"arctan", "arctan"}, {"asin", "arcsin"}, {"acos", "arccos"},   {"atan", "arctan"},
     {"sinh", "sinh"},     {"cosh", "cosh"},   {"tanh", "tanh"},     {"ln", "ln"},
     {"log", "log"},       {"lg", "log"},      {"exp", "exp"},       {"sqrt", "sqrt"},
     {"min", "min"},       {"max", "max"},     {"gcd", "gcd"},       {"lcm", "lcm"},
     {"abs", "abs"},       {"floor", "floor"}, {"ceil", "ceil"},     {"cbrt", "cbrt"}});

constexpr std::array kSymbols = std::to_array<std::string_view>(
    {"alpha",  "beta", "gamma", "delta", "epsilon", "zeta",  "eta",    "theta", "iota",    "kappa",
     "lambda", "mu",   "nu",    "xi",    "pi",      "rho",   "sigma",  "tau",   "upsilon", "phi",
     "chi",    "psi",  "omega", "Gamma", "Delta",   "Theta", "Lambda", "Xi",    "Pi",      "Sigma",
     "Phi",    "Psi",  "Omega", "ell",   "hbar",    "ldots", "aleph",  "prime", "circ",    "star"});

// Spellings in the singular.
constexpr std::array kUnits = std::to_array<Names>(
    {{"cm", "cm"},         {"centimeter", "cm"}, {"centimetre", "cm"},  {"m", "m"},
     {"meter", "m"},       {"metre", "m"},       {"km", "km"},          {"kilometer", "km"},
     {"kilometre", "km"},  {"mm", "mm"},         {"millimeter", "mm"},  {"millimetre", "mm"},
     {"in", "inch"},       {"inch", "inch"},     {"inche", "inch"},     {"ft", "ft"},
     {"foot", "ft"},       {"feet", "ft"},       {"yd", "yard"},        {"yard", "yard"},
     {"mi", "mile"},       {"mile", "mile"},     {"mph", "mile/hour"},  {"kmh", "km/hour"},
     {"g", "g"},           {"gram", "g"},        {"kg", "kg"},          {"kilogram", "kg"},
     {"mg", "mg"},         {"lb", "lb"},         {"pound", "lb"},       {"oz", "oz"},
     {"ounce", "oz"},      {"ton", "ton"},       {"s", "second"},       {"sec", "second"},
     {"second", "second"}, {"min", "minute"},    {"minute", "minute"},  {"h", "hour"},
     {"hr", "hour"},       {"hour", "hour"},     {"day", "day"},        {"week", "week"},
     {"month", "month"},   {"yr", "year"},       {"year", "year"},      {"dollar", "dollar"},
     {"usd", "dollar"},    {"cent", "cent"},     {"euro", "euro"},      {"degree", "degree"},
     {"deg", "degree"},    {"radian", "radian"}, {"rad", "radian"},     {"l", "liter"},
     {"liter", "liter"},   {"litre", "liter"},   {"ml", "ml"},          {"milliliter", "ml"},
     {"gallon", "gallon"}, {"gal", "gallon"},    {"quart", "quart"},    {"cup", "cup"},
     {"newton", "newton"}, {"joule", "joule"},   {"watt", "watt"},      {"kw", "kw"},
     {"volt", "volt"},     {"hz", "hz"},         {"pa", "pa"},          {"am", "am"},
     {"pm", "pm"},         {"acre", "acre"},     {"hectare", "hectare"}});

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }
bool is_letter(char c) { return lower(c) >= 'a' && lower(c) <= 'z'; }

std::optional<std::string_view> unit_word(std::string word) {
  for (int singular = 0; singular < 2; ++singular) {
    const auto unit = std::ranges::find(kUnits, word, &Names::first);
    if (unit != kUnits.end()) return unit->second;
    if (word.size() < 3 || word.back() != 's') break;
    word.pop_back();
  }
  return std::nullopt;
}

}  // namespace

std::optional<std::string> function_of(std::string_view name) {
  const auto function = std::ranges::find(kFunctions, name, &Names::first);
  if (function == kFunctions.end()) return std::nullopt;
  return std::string(function->second);
}

bool is_symbol_command(std::string_view name) {
  return std::ranges::find(kSymbols, name) != kSymbols.end();
}

std::optional<std::string> known_unit(std::string_view text) {
  std::string out;
  std::string power;  // of the next word: "square", "cubic"
  for (size_t at = 0; at < text.size();) {
    if (!is_letter(text[at])) {
      const char c = text[at++];
      if (c == '/' || (c >= '0' && c <= '9')) out += c == '/' ? '/' : c;
      continue;
    }
    std::string word;
    while (at < text.size() && is_letter(text[at])) word += lower(text[at++]);
    if (word == "square" || word == "sq" || word == "squared") {
      power = "2";
    } else if (word == "cubic" || word == "cubed") {
      power = "3";
    } else if (word == "per") {
      out += '/';
    } else {
      const auto unit = unit_word(word);
      if (!unit) return std::nullopt;
      out += *unit;
      out += std::exchange(power, {});
    }
  }
  out += power;
  if (out.empty() || !is_letter(out[0])) return std::nullopt;
  return out;
}

}  // namespace tracewise::math
